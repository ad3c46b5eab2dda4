// SPDX-License-Identifier: Apache-2.0
// The policy-map entries of policy sets: which classes a set has to be compiled
// for, and when again.
#include <algorithm>
#include <deque>
#include <tuple>
#include <utility>

#include <arpa/inet.h>

#include "lib/base/sequence.h"
#include "lib/policy/policy_sets.h"
#include "lib/policy/policy_sets_impl.h"

namespace sluice::policy {
namespace {

std::uint32_t default_rule(Direction direction) {
  return direction == Direction::kIngress ? SLUICE_RULE_DEFAULT_DENY_INGRESS
                                          : SLUICE_RULE_DEFAULT_DENY_EGRESS;
}

// What stands for "no rule decides" where an entry has to say so.
Decided fallback(bool isolated, Direction direction, bool local_node) {
  if (!isolated) {
    return {.kind = Decided::Kind::kAllow, .rule = SLUICE_RULE_DEFAULT_ALLOW};
  }
  if (direction == Direction::kIngress && local_node) {
    return {.kind = Decided::Kind::kAllow, .rule = SLUICE_RULE_LOCAL_NODE};
  }
  return {.kind = Decided::Kind::kDeny, .rule = default_rule(direction)};
}

sluice_policy_key map_key(std::uint32_t set, Direction direction,
                          std::uint32_t cidr_id, const L4Entry& entry) {
  return {.prefixlen = entry.prefixlen,
          .policy_id = set,
          .cidr_id = cidr_id,
          .direction = static_cast<__u8>(direction),
          .protocol = entry.protocol,
          .port = htons(entry.port)};
}

// The places in `rules` of those that apply to a class, in order.
std::vector<std::size_t> rules_for(const SetDirection& direction,
                                   const ClassKey& peer) {
  std::vector<std::size_t> result(direction.any_peer);
  for (const SelectorId id : peer.selectors) {
    const auto it = direction.by_selector.find(id);
    if (it != direction.by_selector.end()) {
      result.insert(result.end(), it->second.begin(), it->second.end());
    }
  }
  sort_unique(result);
  return result;
}

}  // namespace

std::vector<Candidate> PolicySets::candidates(const SetDirection& direction,
                                              const ClassKey& peer) {
  const auto applicable = rules_for(direction, peer);
  std::vector<Candidate> result;
  result.reserve(applicable.size());
  for (const std::size_t i : applicable) {
    result.push_back(direction.rules[i].candidate);
    if (direction.rules[i].named_at_peer) {
      resolve_names(result.back(), direction.rules[i].rule->rule->l4,
                    peer.ports);
    }
  }
  return result;
}

std::vector<L4Entry> PolicySets::compile(const SetRecord& set, Direction which,
                                         std::uint32_t cidr_id,
                                         const ClassKey& peer) const {
  const auto& direction = set.directions[index_of(which)];
  if (is_name_selector(cidr_id)) {
    return compile_name(direction, cidr_id);
  }
  if (cidr_id == SLUICE_CIDR_ANY) {
    const Decision nothing({}, direction.isolated);
    return compile_l4(*direction.any_decision, nothing,
                      fallback(direction.isolated, which, false));
  }
  const auto applicable = rules_for(direction, peer);
  std::deque<Candidate> resolved;  // with ports that the class names
  std::vector<const Candidate*> pointers;
  pointers.reserve(applicable.size());
  for (const std::size_t i : applicable) {
    const auto& placed = direction.rules[i];
    pointers.push_back(&placed.candidate);
    if (placed.named_at_peer) {
      resolve_names(resolved.emplace_back(placed.candidate),
                    placed.rule->rule->l4, peer.ports);
      pointers.back() = &resolved.back();
    }
  }
  Decision decision(pointers, direction.isolated);
  const auto* ports =
      which == Direction::kEgress ? frontends_.ports(cidr_id) : nullptr;
  if (ports != nullptr) {
    for (const auto& port : *ports) {
      if (const auto decided =
              decide_port(direction, cidr_id, port, set.key.own)) {
        decision.override_port(port.protocol, port.port, *decided);
      }
    }
  }
  return compile_l4(decision, *direction.any_decision,
                    fallback(direction.isolated, which, peer.local_node));
}

// Notes what of one class changes, for those who have the set already.
void PolicySets::note_entries(const SetRecord& set, Direction direction,
                              std::uint32_t cidr_id,
                              const std::vector<L4Entry>& before,
                              const std::vector<L4Entry>& after) {
  auto& noted = changes_.sets[set.id].entries;
  const auto note = [&](const L4Entry& entry, bool present) {
    noted.push_back(
        {.key = map_key(set.id, direction, cidr_id, entry),
         .value = present ? std::optional(entry.value) : std::nullopt});
  };
  const auto place = [](const L4Entry& entry) {
    return std::tuple(entry.protocol, entry.port, entry.prefixlen);
  };
  // compile_l4() writes them in this order.
  auto then = before.begin();
  for (const auto& entry : after) {
    for (; then != before.end() && place(*then) < place(entry); ++then) {
      note(*then, false);
    }
    const bool present = then != before.end() && place(*then) == place(entry);
    if (!present || !(*then == entry)) {
      note(entry, true);
    }
    then += present ? 1 : 0;
  }
  for (; then != before.end(); ++then) {
    note(*then, false);
  }
}

void PolicySets::replace_entries(SetRecord& set, Direction direction,
                                 std::uint32_t cidr_id,
                                 std::vector<L4Entry> entries) {
  auto& stored = set.directions[index_of(direction)].entries;
  const auto old = stored.find(cidr_id);
  const bool report = !changes_.created.contains(set.id);
  static const std::vector<L4Entry> none;
  const auto& before = old == stored.end() ? none : old->second;
  if (report && before != entries) {
    note_entries(set, direction, cidr_id, before, entries);
  }
  const bool had = set.has_entries(cidr_id);
  if (direction == Direction::kEgress && !is_name_selector(cidr_id)) {
    count_lists(set, before, entries);
  }
  set.size += entries.size();
  set.size -= before.size();
  count_entries(set, before.size(), entries.size());
  if (entries.empty()) {
    stored.erase(cidr_id);
  } else {
    stored[cidr_id] = std::move(entries);
  }
  if (cidr_id != SLUICE_CIDR_ANY) {
    note_class(set, cidr_id, had);
  }
}

// The set has got or lost entries of the class. `had`: there were some before.
void PolicySets::note_class(SetRecord& set, std::uint32_t cidr_id, bool had) {
  const bool has = set.has_entries(cidr_id);
  if (had == has) {
    return;
  }
  if (!changes_.created.contains(set.id)) {
    changes_.sets[set.id].classes.emplace_back(cidr_id, has);
  }
  if (has) {
    sets_by_class_[cidr_id].insert(set.id);
  } else {
    erase_from(sets_by_class_, cidr_id, set.id);
  }
}

// Classes that the rules of the direction may say something else of than of any
// peer.
std::set<std::uint32_t> PolicySets::classes_touching(const SetRecord& set,
                                                     Direction which) const {
  const auto& direction = set.directions[index_of(which)];
  std::set<std::uint32_t> ids;
  for (const auto& [id, rules] : direction.by_selector) {
    const auto& with = classes_.with_selector(id);
    ids.insert(with.begin(), with.end());
  }
  const bool named_any = std::ranges::any_of(
      direction.any_peer,
      [&](std::size_t i) { return direction.rules[i].named_at_peer; });
  if (named_any) {
    ids.insert(classes_.with_ports().begin(), classes_.with_ports().end());
  }
  if (which == Direction::kIngress) {
    return ids;
  }
  for (const auto& [name, rules] : direction.by_name) {
    ids.insert(name);
  }
  for (const auto& own : set.key.own) {
    ids.insert(own.front);
  }
  if (!direction.any_peer.empty()) {
    frontends_.add_all(ids);
    return ids;
  }
  for (const std::uint32_t id : std::set(ids)) {
    frontends_.add_fronts_of(id, ids);
  }
  return ids;
}

void PolicySets::add_sets_touched_by(const ClassKey& peer,
                                     std::set<std::uint32_t>& ids) const {
  for (const SelectorId id : peer.selectors) {
    const auto it = sets_by_selector_.find(id);
    if (it != sets_by_selector_.end()) {
      ids.insert(it->second.begin(), it->second.end());
    }
  }
  if (!peer.ports.empty()) {
    ids.insert(sets_with_named_any_.begin(), sets_with_named_any_.end());
  }
}

// Sets whose rules look at the class or at what stands behind it, and those
// that have entries for it.
std::set<std::uint32_t> PolicySets::sets_touched_by(
    std::uint32_t cidr_id) const {
  std::set<std::uint32_t> ids;
  add_sets_touched_by(classes_.key(cidr_id), ids);
  if (const auto it = sets_by_class_.find(cidr_id);
      it != sets_by_class_.end()) {
    ids.insert(it->second.begin(), it->second.end());
  }
  if (const auto* ports = frontends_.ports(cidr_id)) {
    ids.insert(sets_with_any_egress_.begin(), sets_with_any_egress_.end());
    for (const auto& port : *ports) {
      for (const auto& [target, number] : port.targets) {
        add_sets_touched_by(classes_.key(target), ids);
      }
    }
  }
  return ids;
}

void PolicySets::compile_class(std::uint32_t cidr_id) {
  const auto& peer = classes_.key(cidr_id);
  for (const std::uint32_t id : sets_touched_by(cidr_id)) {
    if (changes_.rebuilt.contains(id)) {
      continue;  // compiled with all classes just now
    }
    if (changes_.retired.contains(id) || oversized_.contains(id)) {
      continue;  // nobody has it any more; its rules may be gone
    }
    compile_one(*sets_.at(id), cidr_id, peer);
  }
}

void PolicySets::drop_class(std::uint32_t cidr_id) {
  const auto it = sets_by_class_.find(cidr_id);
  if (it == sets_by_class_.end()) {
    return;
  }
  for (const std::uint32_t id : std::set(it->second)) {
    auto& set = *sets_.at(id);
    for (const Direction direction : kDirections) {
      replace_entries(set, direction, cidr_id, {});
    }
    update_questions(set);
  }
}

std::vector<PolicyEntry> PolicySets::entries(const SetRecord& set) {
  std::vector<PolicyEntry> result;
  for (const Direction direction : kDirections) {
    for (const auto& [cidr_id, entries] :
         set.directions[index_of(direction)].entries) {
      for (const auto& entry : entries) {
        result.push_back({.key = map_key(set.id, direction, cidr_id, entry),
                          .value = entry.value});
      }
    }
  }
  for (const auto& question : set.questions) {
    result.push_back(
        {.key = question_key(set.id, question), .value = value_of(question)});
  }
  return result;
}

}  // namespace sluice::policy
