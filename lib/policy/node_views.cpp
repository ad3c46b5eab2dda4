// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/node_views.h"

#include <algorithm>
#include <utility>

#include "lib/base/sequence.h"
#include "lib/policy/policy_sets_impl.h"

namespace sluice::policy {
namespace {

std::vector<RuleInfo> rules_of(const SetRecord& set) {
  std::vector<RuleInfo> rules;
  for (const auto* spec : set.key.specs) {
    for (const auto& rule : spec->rules) {
      rules.push_back(PolicySets::rule_info(*spec, rule));
    }
  }
  return rules;
}

}  // namespace

void NodeViews::note_endpoint(const std::string& node,
                              const std::string& name) {
  const auto it = watches_.find(node);
  if (it != watches_.end()) {
    it->second.touched.insert(name);
    touched_.insert(&it->second);
  }
}

// Updates the number of endpoints by set for one endpoint. Adds the sets that
// it leaves and enters to `had`, with whether the node had them before.
void NodeViews::count_endpoint(Watch& watch, const std::string& name,
                               std::map<std::uint32_t, bool>& had) const {
  const auto* record = pods_.find_endpoint(watch.node, name);
  const auto known = watch.endpoint_sets.find(name);
  const std::uint32_t before =
      known == watch.endpoint_sets.end() ? 0 : known->second;
  const std::uint32_t now = record == nullptr ? 0 : record->policy_set;
  if (record == nullptr) {
    watch.endpoint_sets.erase(name);
  } else {
    watch.endpoint_sets[name] = now;
  }
  if (before == now) {
    return;
  }
  if (now != 0) {
    had.try_emplace(now, watch.set_refs.contains(now));
    ++watch.set_refs[now];
  }
  if (before != 0) {
    had.try_emplace(before, true);
    if (--watch.set_refs[before] == 0) {
      watch.set_refs.erase(before);
    }
  }
}

void NodeViews::withdraw_names(Watch& watch, std::uint32_t id) {
  for (const auto& rule : std::exchange(watch.set_rules[id], {})) {
    const auto refs = watch.rule_refs.find(rule.id);
    if (--refs->second == 0) {
      watch.rule_refs.erase(refs);
      watch.rules[rule.id] = std::nullopt;
    }
  }
  watch.set_rules.erase(id);
  watch.infos[id] = std::nullopt;
}

void NodeViews::send_names(Watch& watch, const SetRecord& set) {
  auto rules = rules_of(set);
  auto info = PolicySets::info(set);
  if (const auto known = watch.set_rules.find(set.id);
      known == watch.set_rules.end() || known->second != rules) {
    withdraw_names(watch, set.id);
    for (const auto& rule : rules) {
      ++watch.rule_refs[rule.id];
      watch.rules[rule.id] = rule;
    }
    watch.set_rules[set.id] = std::move(rules);
  }
  watch.infos[set.id] = std::move(info);
}

NameSelector NodeViews::name_selector(std::uint32_t id) const {
  return {.id = id, .pattern = sets_.names().text(id)};
}

void NodeViews::count_class(Watch& watch, std::uint32_t cidr_id, bool add,
                            Watchers& left) {
  const bool before = watch.class_refs.contains(cidr_id);
  auto& count = watch.class_refs[cidr_id];
  count += add ? 1U : -1U;
  const bool now = count != 0;
  if (!now) {
    watch.class_refs.erase(cidr_id);
  }
  if (before == now) {
    return;
  }
  if (is_name_selector(cidr_id)) {
    watch.names[cidr_id] =
        now ? std::optional(name_selector(cidr_id)) : std::nullopt;
    return;
  }
  watch.mattered.try_emplace(cidr_id, before);
  if (now) {
    class_watches_[cidr_id].insert(&watch);
    return;
  }
  left[cidr_id].insert(&watch);
  const auto it = class_watches_.find(cidr_id);
  it->second.erase(&watch);
  if (it->second.empty()) {
    class_watches_.erase(it);
  }
}

// Adds the content of sets that the node gets or loses.
void NodeViews::collect_sets(Watch& watch,
                             const std::map<std::uint32_t, bool>& had,
                             Watchers& left) {
  for (const auto& [id, before] : had) {
    const bool has = watch.set_refs.contains(id);
    if (before == has) {
      continue;
    }
    const auto* set = sets_.find(id);
    for (const auto& entry : PolicySets::entries(*set)) {
      watch.entries.push_back(
          {.key = entry.key,
           .value = has ? std::optional(entry.value) : std::nullopt});
    }
    set->visit_classes(
        [&](std::uint32_t cidr_id) { count_class(watch, cidr_id, has, left); });
    if (has) {
      send_names(watch, *set);
      set_watches_[id].insert(&watch);
      continue;
    }
    withdraw_names(watch, id);
    set_watches_[id].erase(&watch);
    if (set_watches_[id].empty()) {
      set_watches_.erase(id);
    }
  }
}

// `changed`: sets of the node whose entries, rules or isolation changed.
void NodeViews::collect(Watch& watch, const std::set<std::uint32_t>& changed,
                        Watchers& left) {
  if (watch.fresh) {
    watch.touched.clear();
    return;
  }
  // Applies the changes of the node's sets, also of a set that leaves: then
  // everything that the node may hold of it is removed.
  for (const std::uint32_t id : changed) {
    const auto it = sets_.changes().sets.find(id);
    if (it == sets_.changes().sets.end()) {
      continue;
    }
    watch.entries.insert(watch.entries.end(), it->second.entries.begin(),
                         it->second.entries.end());
    for (const auto& [cidr_id, added] : it->second.classes) {
      count_class(watch, cidr_id, added, left);
    }
  }
  std::map<std::uint32_t, bool> had;
  for (const auto& name : std::exchange(watch.touched, {})) {
    count_endpoint(watch, name, had);
    watch.endpoints.insert(name);
  }
  collect_sets(watch, had, left);
  for (const std::uint32_t id : changed) {
    if (!watch.set_refs.contains(id) || !sets_.changes().rebuilt.contains(id)) {
      continue;
    }
    send_names(watch, *sets_.find(id));
    for (const auto& [name, set] : watch.endpoint_sets) {
      if (set == id) {
        watch.endpoints.insert(name);
      }
    }
  }
  if (watch.has_changes()) {
    pending_.insert(&watch);
  }
}

// Adds a change of the peer if the node needs another entry than before.
void NodeViews::recompute_peer(Watch& watch, const IpPrefix& prefix,
                               const PeerClasses::Seen& before,
                               const PeerClasses::Seen& now) {
  if (watch.fresh) {
    return;
  }
  const auto viewer = classes_.viewer(prefix, watch.node);
  const auto viewer_before = classes_.viewer(prefix, watch.node, true);
  const auto matters = [&](std::uint32_t id) {
    return watch.class_refs.contains(id);
  };
  const auto mattered = [&](std::uint32_t id) {
    const auto it = watch.mattered.find(id);
    return it == watch.mattered.end() ? matters(id) : it->second;
  };
  if (PeerClasses::entry(before, viewer_before, mattered) !=
      PeerClasses::entry(now, viewer, matters)) {
    watch.peers.insert(prefix);
    pending_.insert(&watch);
  }
}

// A peer affects the nodes to which one of its classes matters: the old and new
// classes of the peer and of its enclosing prefix. `left`: nodes to which a
// class mattered until now.
std::unordered_set<NodeViews::Watch*> NodeViews::concerned_by(
    const IpPrefix& prefix, const PeerClasses::Seen& before,
    const PeerClasses::Seen& now, const Watchers& left) {
  std::unordered_set<Watch*> concerned;
  const auto add_watchers = [&](std::uint32_t id) {
    for (const auto* watchers : {&std::as_const(class_watches_), &left}) {
      if (const auto it = watchers->find(id); it != watchers->end()) {
        concerned.insert(it->second.begin(), it->second.end());
      }
    }
  };
  for (const auto* seen : {&before, &now}) {
    add_watchers(seen->cover);
    std::ranges::for_each(seen->ids(), add_watchers);
  }
  // Every node has the addresses of all nodes.
  if (((before.cidr_id | now.cidr_id) & SLUICE_CIDR_NODE) != 0) {
    for (auto& [node, watch] : watches_) {
      concerned.insert(&watch);
    }
  }
  for (const auto& node : classes_.claimants(prefix)) {
    if (const auto it = watches_.find(node); it != watches_.end()) {
      concerned.insert(&it->second);
    }
  }
  return concerned;
}

// Handles a node that is in another zone than before: addresses of Services may
// have other backends there although they have not changed.
void NodeViews::recompute_zone(Watch& watch) {
  for (const auto& [address, variants] : classes_.variants()) {
    const auto prefix = host_prefix(address);
    const auto now = classes_.seen(prefix);
    const auto it = classes_.changes().peers.find(prefix);
    recompute_peer(watch, prefix,
                   it == classes_.changes().peers.end() ? now : it->second,
                   now);
  }
}

void NodeViews::distribute_peers(const Watchers& left) {
  for (const auto& [prefix, before] : classes_.changes().peers) {
    const auto now = classes_.seen(prefix);
    for (auto* watch : concerned_by(prefix, before, now, left)) {
      recompute_peer(*watch, prefix, before, now);
    }
  }
  for (const auto& [node, zone] : classes_.changes().rezoned) {
    if (const auto it = watches_.find(node); it != watches_.end()) {
      recompute_zone(it->second);
    }
  }
  for (const auto& [prefix, moved] : classes_.changes().moves) {
    for (const auto& node : moved) {
      const auto it = watches_.find(node);
      if (it != watches_.end() && !it->second.fresh) {
        it->second.peers.insert(prefix);
        pending_.insert(&it->second);
      }
    }
  }
}

// Handles classes that began or ceased to matter to the node: their members may
// need another entry although they have not changed.
void NodeViews::recompute_members(Watch& watch) {
  for (const auto& [cidr_id, before] : watch.mattered) {
    if (watch.class_refs.contains(cidr_id) == before) {
      continue;
    }
    classes_.visit(cidr_id, [&](const IpPrefix& prefix) {
      if (!classes_.changes().peers.contains(prefix)) {
        const auto seen = classes_.seen(prefix);
        recompute_peer(watch, prefix, seen, seen);
      }
    });
  }
  watch.mattered.clear();
}

// Every node has the cluster's resolvers.
void NodeViews::distribute_resolvers() {
  const auto& changes = services_.resolver_changes();
  if (changes.empty()) {
    return;
  }
  for (auto& [node, watch] : watches_) {
    if (!watch.fresh) {
      watch.resolvers.insert(changes.begin(), changes.end());
      pending_.insert(&watch);
    }
  }
}

// Gives every watched node its part of the changes of this flush. Nodes
// unaffected by a change cost nothing.
void NodeViews::distribute() {
  std::unordered_map<Watch*, std::set<std::uint32_t>> changed;
  for (auto* watch : std::exchange(touched_, {})) {
    changed[watch];
  }
  const auto add = [&](std::uint32_t id) {
    const auto it = set_watches_.find(id);
    if (it != set_watches_.end()) {
      for (auto* watch : it->second) {
        changed[watch].insert(id);
      }
    }
  };
  for (const auto& [id, changes] : sets_.changes().sets) {
    add(id);
  }
  for (const std::uint32_t id : sets_.changes().rebuilt) {
    add(id);
  }
  Watchers left;
  for (const auto& [watch, ids] : changed) {
    collect(*watch, ids, left);
  }
  distribute_peers(left);
  for (const auto& [watch, ids] : changed) {
    recompute_members(*watch);
  }
  distribute_resolvers();
}

EndpointEntry NodeViews::endpoint(const PodRecord& record) const {
  EndpointEntry entry;
  entry.name = record.name();
  entry.policy_set = record.policy_set;
  if (const auto* set = sets_.find(record.policy_set)) {
    for (const Direction direction : kDirections) {
      entry.isolated[index_of(direction)] = set->isolates(direction);
    }
  }
  entry.ips = record.pod.ips;
  const auto interface = record.pod.annotations.find("sluice.io/interface");
  if (interface != record.pod.annotations.end()) {
    entry.interface = interface->second;
  }
  if (const auto* space = pods_.find_space(record.pod.ns)) {
    entry.permits = space->permits;
  }
  return entry;
}

State NodeViews::snapshot(const std::string& node) const {
  State state;
  std::set<std::uint32_t> ids;
  for (const auto* record : pods_.on_node(node)) {
    if (!pods_.is_endpoint(*record)) {
      continue;
    }
    state.endpoints.push_back(endpoint(*record));
    if (record->policy_set != 0) {
      ids.insert(record->policy_set);
    }
  }
  std::map<std::uint32_t, RuleInfo> rules;
  ClassRefs refs;
  for (const std::uint32_t id : ids) {
    const auto& set = *sets_.find(id);
    const auto entries = PolicySets::entries(set);
    set.visit_classes([&](std::uint32_t cidr_id) { ++refs[cidr_id]; });
    state.entries.insert(state.entries.end(), entries.begin(), entries.end());
    state.sets.push_back(PolicySets::info(set));
    for (auto& rule : rules_of(set)) {
      rules[rule.id] = std::move(rule);
    }
  }
  for (auto& [id, rule] : rules) {
    state.rules.push_back(std::move(rule));
  }
  std::ranges::sort(state.entries, [](const auto& a, const auto& b) {
    return PolicyKeyLess{}(a.key, b.key);
  });
  std::ranges::sort(state.endpoints, [](const auto& a, const auto& b) {
    return a.name < b.name;
  });
  state.peers = classes_.entries(node, refs);
  for (const auto& [id, count] : refs) {
    if (is_name_selector(id)) {
      state.names.push_back(name_selector(id));
    }
  }
  std::ranges::sort(state.names, {}, &NameSelector::id);
  state.resolvers = services_.resolvers();
  return state;
}

// Removes the watch from the indices.
void NodeViews::forget(Watch& watch) {
  const auto drop = [&](Watchers& watchers, std::uint32_t id) {
    const auto it = watchers.find(id);
    if (it != watchers.end() && it->second.erase(&watch) != 0 &&
        it->second.empty()) {
      watchers.erase(it);
    }
  };
  for (const auto& [id, refs] : watch.set_refs) {
    drop(set_watches_, id);
  }
  for (const auto& [id, refs] : watch.class_refs) {
    drop(class_watches_, id);
  }
  touched_.erase(&watch);
  pending_.erase(&watch);
}

Transaction NodeViews::take_all(Watch& watch) {
  const auto state = snapshot(watch.node);
  forget(watch);
  watch = {.node = watch.node, .fresh = false, .revision = watch.revision};
  std::map<std::uint32_t, bool> had;
  for (const auto& endpoint : state.endpoints) {
    watch.sent_endpoints[endpoint.name] = endpoint;
    count_endpoint(watch, endpoint.name, had);
  }
  Watchers left;
  collect_sets(watch, had, left);
  watch.mattered.clear();
  watch.entries.clear();
  watch.rules.clear();
  watch.infos.clear();
  watch.names.clear();
  return diff(State{}, state);
}

Transaction NodeViews::take_changes(Watch& watch) const {
  Transaction changes;
  for (const auto& prefix : std::exchange(watch.peers, {})) {
    changes.peers.push_back(
        {.prefix = prefix,
         .cidr_id = classes_.entry(prefix, watch.node, watch.class_refs)});
  }
  changes.entries = std::exchange(watch.entries, {});
  keep_last(changes.entries, &Transaction::EntryChange::key, PolicyKeyLess{});
  for (const auto& name : std::exchange(watch.endpoints, {})) {
    const auto* record = pods_.find_endpoint(watch.node, name);
    const auto sent = watch.sent_endpoints.find(name);
    if (record == nullptr) {
      if (sent != watch.sent_endpoints.end()) {
        watch.sent_endpoints.erase(sent);
        changes.endpoints.push_back({.name = name, .value = std::nullopt});
      }
      continue;
    }
    auto entry = endpoint(*record);
    if (sent == watch.sent_endpoints.end() || sent->second != entry) {
      watch.sent_endpoints[name] = entry;
      changes.endpoints.push_back({.name = name, .value = std::move(entry)});
    }
  }
  for (auto& [id, info] : std::exchange(watch.rules, {})) {
    changes.rules.push_back({.id = id, .value = std::move(info)});
  }
  for (auto& [id, info] : std::exchange(watch.infos, {})) {
    changes.sets.push_back({.id = id, .value = std::move(info)});
  }
  for (auto& [id, name] : std::exchange(watch.names, {})) {
    changes.names.push_back({.id = id, .value = std::move(name)});
  }
  for (const auto& resolver : std::exchange(watch.resolvers, {})) {
    changes.resolvers.push_back(
        {.resolver = resolver, .present = services_.is_resolver(resolver)});
  }
  return changes;
}

void NodeViews::watch(const std::string& node) {
  auto& watch = watches_[node];
  watch.node = node;
  watch.fresh = true;
  pending_.insert(&watch);
}

void NodeViews::forget(const std::string& node) {
  const auto it = watches_.find(node);
  if (it != watches_.end()) {
    forget(it->second);
    watches_.erase(it);
  }
}

Transaction NodeViews::take(const std::string& node) {
  auto& watch = watches_.at(node);
  auto transaction = watch.fresh ? take_all(watch) : take_changes(watch);
  pending_.erase(&watch);
  transaction.revision = ++watch.revision;
  return transaction;
}

std::vector<std::string> NodeViews::changed() const {
  std::vector<std::string> result;
  result.reserve(pending_.size());
  for (const auto* watch : pending_) {
    result.push_back(watch->node);
  }
  std::ranges::sort(result);
  return result;
}

}  // namespace sluice::policy
