// SPDX-License-Identifier: Apache-2.0
// What one node is given: its endpoints, their policy sets with entries and
// names, and the peers; whole or as changes.
#include <algorithm>
#include <utility>

#include "lib/policy/translator_impl.h"

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

const PodRecord* Translator::Impl::find_endpoint(
    const std::string& node, const std::string& name) const {
  const auto it = pods.find(name);
  return it != pods.end() && it->second->managed() &&
                 it->second->pod.node == node
             ? it->second.get()
             : nullptr;
}

// Brings the count of endpoints by set up to date for one endpoint; the sets
// it leaves and enters go into `seen`.
void Translator::Impl::count_endpoint(const std::string& node, NodeWatch& watch,
                                      const std::string& name,
                                      std::set<std::uint32_t>& seen) const {
  const auto* record = find_endpoint(node, name);
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
    ++watch.set_refs[now];
    seen.insert(now);
  }
  if (before != 0) {
    --watch.set_refs[before];
    seen.insert(before);
  }
}

void Translator::Impl::withdraw_names(NodeWatch& watch, std::uint32_t id) {
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

void Translator::Impl::send_names(NodeWatch& watch, const SetRecord& set) {
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

void Translator::Impl::collect_sets(const std::string& node, NodeWatch& watch) {
  const auto before = watch.set_refs;
  std::set<std::uint32_t> seen;
  for (const auto& name : std::exchange(watch.touched, {})) {
    count_endpoint(node, watch, name, seen);
    watch.endpoints.insert(name);
  }
  // What the node had follows the sets' changes, also where a set now leaves:
  // then everything it may hold of it is withdrawn.
  for (const auto& change : sets.changes().entries) {
    if (before.contains(change.key.policy_id)) {
      watch.entries[change.key] = change.value;
    }
  }
  for (const std::uint32_t id : seen) {
    const auto* set = sets.find(id);
    const bool had = before.contains(id);
    const bool has = watch.set_refs[id] != 0;
    if (!has) {
      watch.set_refs.erase(id);
    }
    if (had != has) {
      for (const auto& entry : sluice::policy::PolicySets::entries(*set)) {
        watch.entries[entry.key] =
            has ? std::optional(entry.value) : std::nullopt;
      }
      if (has) {
        send_names(watch, *set);
      } else {
        withdraw_names(watch, id);
      }
    }
  }
}

void Translator::Impl::collect(const std::string& node, NodeWatch& watch) {
  if (watch.fresh) {
    watch.touched.clear();
    return;
  }
  collect_sets(node, watch);
  for (const std::uint32_t id : sets.changes().rebuilt) {
    if (!watch.set_refs.contains(id)) {
      continue;
    }
    const auto* set = sets.find(id);
    send_names(watch, *set);
    for (const auto* pod : set->pods) {
      if (pod->pod.node == node) {
        watch.endpoints.insert(pod->name());
      }
    }
  }
  watch.peers.insert(classes.changes().peers.begin(),
                     classes.changes().peers.end());
}

State Translator::Impl::snapshot(const std::string& node) const {
  State state;
  std::set<std::uint32_t> ids;
  const auto here = node_pods.find(node);
  if (here != node_pods.end()) {
    for (const auto* record : here->second) {
      state.endpoints.push_back(endpoint(*record));
      if (record->policy_set != 0) {
        ids.insert(record->policy_set);
      }
    }
  }
  std::map<std::uint32_t, RuleInfo> rules;
  for (const std::uint32_t id : ids) {
    const auto& set = *sets.find(id);
    const auto entries = sluice::policy::PolicySets::entries(set);
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
  state.peers = classes.entries(node);
  return state;
}

Transaction Translator::Impl::take_all(const std::string& node,
                                       NodeWatch& watch) {
  const auto state = snapshot(node);
  watch = {.fresh = false, .revision = watch.revision};
  for (const auto& endpoint : state.endpoints) {
    watch.sent_endpoints[endpoint.name] = endpoint;
    std::set<std::uint32_t> seen;
    count_endpoint(node, watch, endpoint.name, seen);
  }
  for (const auto& [id, refs] : watch.set_refs) {
    send_names(watch, *sets.find(id));
  }
  watch.rules.clear();
  watch.infos.clear();
  return diff(State{}, state);
}

Transaction Translator::Impl::take_changes(const std::string& node,
                                           NodeWatch& watch) const {
  Transaction changes;
  for (const auto& prefix : std::exchange(watch.peers, {})) {
    changes.peers.push_back(
        {.prefix = prefix, .cidr_id = classes.entry(prefix, node)});
  }
  for (const auto& [key, value] : std::exchange(watch.entries, {})) {
    changes.entries.push_back({.key = key, .value = value});
  }
  for (const auto& name : std::exchange(watch.endpoints, {})) {
    const auto* record = find_endpoint(node, name);
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
  return changes;
}

void Translator::watch_node(const std::string& node) {
  impl_->watches[node].fresh = true;
}

void Translator::forget_node(const std::string& node) {
  impl_->watches.erase(node);
}

Transaction Translator::take(const std::string& node) {
  impl_->flush();
  auto& watch = impl_->watches.at(node);
  auto transaction = watch.fresh ? impl_->take_all(node, watch)
                                 : impl_->take_changes(node, watch);
  transaction.revision = ++watch.revision;
  return transaction;
}

State Translator::snapshot(const std::string& node) const {
  impl_->flush();
  return impl_->snapshot(node);
}

}  // namespace sluice::policy
