// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/policy_sets.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "lib/policy/hash.h"
#include "lib/policy/policy_sets_impl.h"

namespace sluice::policy {
namespace {

bool earlier(const SpecRecord* a, const SpecRecord* b) {
  return std::tie(a->policy->key, a->index) <
         std::tie(b->policy->key, b->index);
}

bool names_services(const Rule& rule) {
  return std::ranges::any_of(rule.peers, [](const PeerSelector& peer) {
    return std::holds_alternative<ServicePeer>(peer);
  });
}

bool names_services(const Spec& spec) {
  return std::ranges::any_of(
      spec.rules, [](const Rule& rule) { return names_services(rule); });
}

}  // namespace

void resolve_names(Candidate& candidate, const L4& l4,
                   const std::vector<ResolvedPort>& ports) {
  for (const auto& named : l4.named) {
    for (const auto& port : ports) {
      if (port.name == named.name &&
          (named.protocol == 0 || named.protocol == port.protocol)) {
        candidate.ranges.push_back(
            {.protocol = port.protocol,
             .first = port.port,
             .last = std::max(port.port, named.end_port)});
      }
    }
  }
}

// The spec's rules or subject changed: its sets must be built anew, and its
// subjects' own named ports may count otherwise.
void PolicySets::note_change(const SpecRecord& spec) {
  for (const std::uint32_t id : spec.sets) {
    dirty_.insert(id);
    const auto& pods = sets_.at(id)->pods;
    changes_.pods.insert(pods.begin(), pods.end());
  }
}

// A spec that went and comes back before anybody was told is the same one, and
// so are the sets that have it.
std::unique_ptr<SpecRecord> PolicySets::take_dying(const Policy& policy,
                                                   std::size_t index) {
  const auto it = std::ranges::find_if(dying_, [&](const auto& spec) {
    return spec->policy == &policy && spec->index == index;
  });
  if (it == dying_.end()) {
    return std::make_unique<SpecRecord>();
  }
  auto spec = std::move(*it);
  dying_.erase(it);
  note_change(*spec);
  return spec;
}

void PolicySets::add_spec(PolicyRecord& record, std::size_t index) {
  auto spec = take_dying(record.policy, index);
  spec->policy = &record.policy;
  spec->spec = &record.policy.specs[index];
  spec->index = index;
  spec->subject =
      selectors_.acquire(spec->spec->subject, SelectorCache::Use::kSubject);
  spec->rules = acquire_rules(record.policy.key, *spec->spec);
  by_subject_[spec->subject].insert(spec.get());
  const auto& pods = selectors_.get(spec->subject).pods;
  changes_.pods.insert(pods.begin(), pods.end());
  record.specs.push_back(std::move(spec));
}

void PolicySets::remove_spec(SpecRecord& spec) {
  note_change(spec);
  erase_from(by_subject_, spec.subject, &spec);
  selectors_.release(spec.subject, SelectorCache::Use::kSubject);
  release_rules(spec.rules);
  spec.rules.clear();
}

void PolicySets::set_policy(const Policy& policy) {
  removed_.erase(policy.key);
  auto& record = policies_[policy.key];
  if (record && record->policy == policy) {
    return;
  }
  if (!record) {
    record = std::make_unique<PolicyRecord>();
  }
  if (std::ranges::any_of(policy.specs, [](const Spec& spec) {
        return names_services(spec);
      })) {
    with_services_.insert(policy.key);
  } else {
    with_services_.erase(policy.key);
  }
  const Policy old = std::exchange(record->policy, policy);
  const std::size_t kept = std::min(record->specs.size(), policy.specs.size());
  for (std::size_t i = 0; i < kept; ++i) {
    auto& spec = *record->specs[i];
    const auto subject = selectors_.acquire(record->policy.specs[i].subject,
                                            SelectorCache::Use::kSubject);
    if (subject != spec.subject) {
      for (const SelectorId id : {subject, spec.subject}) {
        const auto& pods = selectors_.get(id).pods;
        changes_.pods.insert(pods.begin(), pods.end());
      }
      erase_from(by_subject_, spec.subject, &spec);
      by_subject_[subject].insert(&spec);
    }
    selectors_.release(spec.subject, SelectorCache::Use::kSubject);
    spec.subject = subject;
    spec.spec = &record->policy.specs[i];
    replace_rules(policy.key, spec);
  }
  for (std::size_t i = kept; i < policy.specs.size(); ++i) {
    add_spec(*record, i);
  }
  while (record->specs.size() > policy.specs.size()) {
    auto spec = std::move(record->specs.back());
    record->specs.pop_back();
    remove_spec(*spec);
    dying_.push_back(std::move(spec));
  }
}

// The new selectors are taken before the old ones are let go, so that what
// both versions use is never gone in between.
void PolicySets::replace_rules(const PolicyKey& key, SpecRecord& spec) {
  const auto old = std::exchange(spec.rules, acquire_rules(key, *spec.spec));
  release_rules(old);
  note_change(spec);
}

void PolicySets::remove_policy(const PolicyKey& key) {
  if (policies_.contains(key)) {
    removed_.insert(key);
  }
}

void PolicySets::apply_removals() {
  for (const auto& key : std::exchange(removed_, {})) {
    set_policy({.key = key, .specs = {}, .warnings = {}});
    // The dying specs still point to the policy's record.
    const auto it = policies_.find(key);
    dying_policies_.push_back(std::move(it->second));
    policies_.erase(it);
  }
}

SetKey PolicySets::key_for(const PodRecord& pod) const {
  SetKey key;
  std::set<std::string> names;
  for (const SelectorId id : pod.matched) {
    const auto it = by_subject_.find(id);
    if (it == by_subject_.end()) {
      continue;
    }
    for (auto* spec : it->second) {
      key.specs.push_back(spec);
      for (const auto& rule : spec->spec->rules) {
        if (rule.direction == Direction::kIngress) {
          for (const auto& named : rule.l4.named) {
            names.insert(named.name);
          }
        }
      }
    }
  }
  std::ranges::sort(key.specs, earlier);
  if (!key.specs.empty()) {
    key.ports = resolve_ports(pod.pod, names);
    // The record is only looked up.
    const auto own = own_.find(const_cast<PodRecord*>(&pod));
    if (own != own_.end()) {
      key.own = own->second;
    }
  }
  return key;
}

std::uint32_t PolicySets::new_set_id(const SetKey& key) const {
  StableHash hash;
  hash.add("set");
  for (const auto* spec : key.specs) {
    hash.add(to_string(spec->policy->key)).add(spec->index);
  }
  for (const auto& port : key.ports) {
    hash.add(port.name).add(port.protocol).add(port.port);
  }
  for (const auto& own : key.own) {
    hash.add("own").add(own.front).add(own.protocol).add(own.port);
    hash.add(own.target).add(own.number);
  }
  constexpr std::uint32_t kMask = 0x7fffffff;
  auto id = static_cast<std::uint32_t>(hash.value()) & kMask;
  while (id == 0 || sets_.contains(id)) {
    id = (id + 1) & kMask;
  }
  return id;
}

void PolicySets::assign(PodRecord& pod) {
  to_split_.insert(&pod);
  const auto key = pod.managed() ? key_for(pod) : SetKey{};
  std::uint32_t id = 0;
  if (!key.specs.empty()) {
    const auto known = set_ids_.find(key);
    if (known != set_ids_.end()) {
      id = known->second;
    } else {
      id = new_set_id(key);
      set_ids_[key] = id;
      auto set = std::make_unique<SetRecord>();
      set->id = id;
      set->key = key;
      for (const auto* spec : key.specs) {
        if (!spec->policy->key.ns.empty()) {
          set->ns = spec->policy->key.ns;
        }
      }
      sets_[id] = std::move(set);
      for (auto* spec : key.specs) {
        spec->sets.insert(id);
      }
      dirty_.insert(id);
      changes_.created.insert(id);
    }
  }
  if (id == pod.policy_set) {
    return;
  }
  leave_set(pod);
  pod.policy_set = id;
  if (id != 0) {
    sets_.at(id)->pods.insert(&pod);
    changes_.retired.erase(id);
    if (emptied_.erase(id) != 0) {
      dirty_.insert(id);  // its rules were taken, and it is in use again
    }
  }
}

void PolicySets::unassign(PodRecord& pod) {
  leave_set(pod);
  pod.policy_set = 0;
  changes_.pods.erase(&pod);
  own_.erase(&pod);
  to_split_.erase(&pod);
}

void PolicySets::leave_set(PodRecord& pod) {
  if (pod.policy_set == 0) {
    return;
  }
  auto& set = *sets_.at(pod.policy_set);
  set.pods.erase(&pod);
  if (set.pods.empty()) {
    changes_.retired.insert(set.id);
  }
}

void PolicySets::place_rules(SetRecord& set, Direction direction) {
  auto& side = set.directions[index_of(direction)];
  for (const auto* spec : set.key.specs) {
    side.isolated |= spec->spec->default_deny[index_of(direction)];
    for (const auto& rule : spec->rules) {
      if (rule.rule->direction != direction) {
        continue;
      }
      PlacedRule placed{.spec = spec, .rule = &rule, .candidate = {}};
      auto& candidate = placed.candidate;
      candidate.tier = spec->policy->tier;
      candidate.action = rule.rule->action;
      candidate.rule = rule.id;
      candidate.jump = spec->spec->log ? SLUICE_JUMP_LOG : SLUICE_JUMP_NONE;
      candidate.any_l4 = rule.rule->l4.any;
      candidate.ranges = rule.rule->l4.ranges;
      if (direction == Direction::kIngress) {
        resolve_names(candidate, rule.rule->l4, set.key.ports);
      } else {
        placed.named_at_peer = !rule.rule->l4.named.empty();
      }
      merge_ranges(candidate.ranges);
      if (!rule.names.empty()) {
        side.rules.push_back(placed);
        side.rules.back().candidate.name_level = 1;
        side.rules.back().named_at_peer = false;
      }
      if (rule.names.empty() || !rule.peers.empty()) {
        side.rules.push_back(std::move(placed));
      }
    }
  }
  // Specs are in order of policy and index and rules in order of their place,
  // so a stable sort leaves those as the last criteria.
  std::ranges::stable_sort(
      side.rules, [](const PlacedRule& a, const PlacedRule& b) {
        return std::tuple(a.candidate.tier, a.spec->policy->priority) <
               std::tuple(b.candidate.tier, b.spec->policy->priority);
      });
}

void PolicySets::build(SetRecord& set) {
  for (const Direction direction : kDirections) {
    auto& side = set.directions[index_of(direction)];
    auto entries = std::move(side.entries);
    side = {};
    side.entries = std::move(entries);
    place_rules(set, direction);
    index_rules(side);
    std::vector<const Candidate*> any;
    any.reserve(side.any_peer.size());
    for (const std::size_t i : side.any_peer) {
      any.push_back(&side.rules[i].candidate);
    }
    side.any_decision = std::make_unique<Decision>(any, side.isolated);
  }
}

void PolicySets::index(const SetRecord& set, bool add) {
  bool named_any = false;
  for (const auto& side : set.directions) {
    for (const auto& [id, rules] : side.by_selector) {
      if (add) {
        sets_by_selector_[id].insert(set.id);
      } else {
        erase_from(sets_by_selector_, id, set.id);
      }
    }
    named_any |= std::ranges::any_of(side.any_peer, [&](std::size_t i) {
      return side.rules[i].named_at_peer;
    });
  }
  if (add && named_any) {
    sets_with_named_any_.insert(set.id);
  } else {
    sets_with_named_any_.erase(set.id);
  }
  if (add && !set.directions[index_of(Direction::kEgress)].any_peer.empty()) {
    sets_with_any_egress_.insert(set.id);
  } else {
    sets_with_any_egress_.erase(set.id);
  }
}

// Gives the sets whose rules changed these rules.
void PolicySets::build_dirty(std::set<std::uint32_t>& built) {
  for (const std::uint32_t id : std::exchange(dirty_, {})) {
    auto& set = *sets_.at(id);
    index(set, false);
    if (changes_.retired.contains(id)) {
      // Its rules may be gone; only its entries are still read.
      for (auto& side : set.directions) {
        side.rules.clear();
        side.by_selector.clear();
        side.any_peer.clear();
      }
      emptied_.insert(id);
      continue;
    }
    build(set);
    index(set, true);
    built.insert(id);
  }
}

void PolicySets::update() {
  const auto fronts = frontends_.update();
  to_split_.insert(fronts.pods.begin(), fronts.pods.end());
  retry_oversized();
  std::set<std::uint32_t> built;
  build_dirty(built);
  split_sets();
  build_dirty(built);
  for (const std::uint32_t id : built) {
    // Splitting may have left nobody who has it.
    if (sets_.contains(id) && !changes_.retired.contains(id)) {
      compile_all(*sets_.at(id));
      changes_.rebuilt.insert(id);
    }
  }
  const auto& classes = classes_.changes();
  for (const std::uint32_t cidr_id : classes.created) {
    if (!classes.retired.contains(cidr_id)) {
      compile_class(cidr_id);
    }
  }
  for (const std::uint32_t cidr_id : fronts.classes) {
    if (!classes.retired.contains(cidr_id)) {
      compile_class(cidr_id);
    }
  }
  for (const std::uint32_t cidr_id : classes.retired) {
    drop_class(cidr_id);
  }
  retry_over_share();
  // Once, for every node that has the set.
  for (auto& [id, change] : changes_.sets) {
    std::ranges::stable_sort(change.entries, [](const auto& a, const auto& b) {
      return PolicyKeyLess{}(a.key, b.key);
    });
  }
}

void PolicySets::discard(std::uint32_t set_id) {
  const auto it = sets_.find(set_id);
  index(*it->second, false);
  it->second->visit_classes([&](std::uint32_t cidr_id) {
    erase_from(sets_by_class_, cidr_id, set_id);
  });
  for (auto* spec : it->second->key.specs) {
    spec->sets.erase(set_id);
  }
  set_ids_.erase(it->second->key);
  oversized_.erase(set_id);
  over_share_.erase(set_id);
  count_entries(*it->second, it->second->size, 0);
  sets_.erase(it);
}

void PolicySets::clear_changes() {
  for (const std::uint32_t id : changes_.retired) {
    discard(id);
  }
  emptied_.clear();
  dying_.clear();
  dying_policies_.clear();
  changes_ = {};
}

const SetRecord* PolicySets::find(std::uint32_t id) const {
  const auto it = sets_.find(id);
  return it == sets_.end() ? nullptr : it->second.get();
}

PolicySetInfo PolicySets::info(const SetRecord& set) {
  PolicySetInfo info{
      .id = set.id, .policies = {}, .isolating = {}, .problem = set.problem};
  for (const auto* spec : set.key.specs) {
    const auto name = to_string(spec->policy->key);
    const auto add = [&](std::vector<std::string>& names) {
      if (names.empty() || names.back() != name) {
        names.push_back(name);
      }
    };
    add(info.policies);
    for (const Direction direction : kDirections) {
      const bool says =
          std::ranges::any_of(spec->rules, [&](const RuleRecord& rule) {
            return rule.rule->direction == direction;
          });
      if (spec->spec->default_deny[index_of(direction)] ||
          (!set.problem.empty() && says)) {
        add(info.isolating[index_of(direction)]);
      }
    }
  }
  return info;
}

RuleInfo PolicySets::rule_info(const SpecRecord& spec, const RuleRecord& rule) {
  constexpr std::array<const char*, 3> kActions{"allow", "deny", "pass"};
  return {.id = rule.id,
          .policy = to_string(spec.policy->key),
          .path = rule.rule->path,
          .action = kActions[static_cast<std::size_t>(rule.rule->action)],
          .log_value = spec.spec->log_value};
}

void PolicySets::visit_subjects(
    const PolicyKey& key,
    const std::function<void(const kube::Pod&)>& visit) const {
  const auto record = policies_.find(key);
  if (record == policies_.end()) {
    return;
  }
  for (const auto& spec : record->second->specs) {
    for (const std::uint32_t id : spec->sets) {
      if (const auto* set = find(id); set != nullptr) {
        for (const auto* pod : set->pods) {
          visit(pod->pod);
        }
      }
    }
  }
}

}  // namespace sluice::policy
