// SPDX-License-Identifier: Apache-2.0
#include "agent/plan.h"

#include <algorithm>
#include <string>
#include <utility>

#include "agent/standby.h"
#include "lib/base/sequence.h"

namespace sluice::agent {
namespace {

sluice_policy_key kernel_key(sluice_policy_key key, unsigned bit) {
  key.policy_id = SLUICE_POLICY_ID(key.policy_id, bit);
  return key;
}

class Planner {
 public:
  Planner(const Mirror& mirror, const EndpointTargets& targets,
          const Maps& maps, const PlanOptions& options)
      : mirror_(mirror),
        targets_(targets),
        maps_(maps),
        options_(options),
        slot_(options.slot),
        now_(mirror.peers),
        wanted_(mirror.peers) {}

  Result<Plan> run(const Delta& delta, Shortage& shortage) {
    plan_peers(delta.peers);
    plan_entries(delta.entries);
    if (auto result = plan_records(); !result) {
      return std::unexpected(result.error());
    }
    for (const Map map : kAppliedMaps) {
      const std::size_t needed = mirror_.count(map) + plan_.growth(map);
      if (!of(plan_.adds, map).empty() && needed > maps_.capacity(map)) {
        if (map == Map::kPolicy) {
          shortage = shortage_of(needed);
        } else if (map != Map::kEndpointOverflow) {
          shortage = {.map = map, .needed = needed, .sets = {}};
        }
        return map_full(maps_, map, needed);
      }
    }
    plan_.cleanup.grace_period_first = plan_.visible;
    return std::move(plan_);
  }

 private:
  [[nodiscard]] Shortage shortage_of(std::size_t needed) const {
    Shortage result{.needed = needed, .sets = {}};
    for (const auto& change : plan_.sets) {
      const auto& now = current(change.set);
      Shortage::Set set{.id = change.set};
      std::size_t fresh = 0;
      for (const auto& entry : change.entries) {
        const bool present = now.entries.contains(entry.key);
        set.growth += (entry.value ? 1 : 0) - (present ? 1 : 0);
        fresh += entry.value && !present ? 1 : 0;
      }
      set.adds =
          change.bit == now.bit
              ? fresh
              : static_cast<std::size_t>(
                    static_cast<std::int64_t>(now.entries.size()) + set.growth);
      if (set.adds > 0) {
        result.sets.push_back(set);
      }
    }
    return result;
  }

  // ---- peers ----

  void plan_peers(const std::vector<Transaction::PeerChange>& changes) {
    for (const auto& change : changes) {
      wanted_.change(change.prefix, change.cidr_id);
    }
    for (const auto& change : changes) {
      const auto now = mirror_.peers.find(change.prefix);
      if (now == change.cidr_id) {
        continue;
      }
      if (now) {
        --references_[*now];
      }
      if (change.cidr_id) {
        ++references_[*change.cidr_id];
      }
      plan_peer(change.prefix, now, change.cidr_id);
      plan_.peers.push_back(change);
    }
  }

  // An element hides its enclosing prefixes in both generations. An element
  // that is added or deleted therefore holds, in the generation in which it
  // does not exist, the class of its enclosing prefix in that generation.
  void plan_peer(const IpPrefix& prefix, std::optional<std::uint32_t> now,
                 std::optional<std::uint32_t> wanted) {
    const Map map = peer_map(prefix);
    const std::uint32_t before = now ? *now : now_.cover(prefix);
    const std::uint32_t after = wanted ? *wanted : wanted_.cover(prefix);
    std::array<std::uint32_t, 2> both{};
    both[slot_] = before;
    both[slot_ ^ 1] = after;
    if (now) {
      if (before != after) {
        push_peer(of(plan_.changes, map), prefix, both);
        push_peer(of(plan_.restores, map), prefix, {before, before});
      }
    } else {
      push_peer(of(plan_.adds, map), prefix, both);
    }
    if (!wanted) {
      push_peer_key(of(plan_.cleanup.erases, map), prefix);
    } else if (before != after) {
      push_peer(of(plan_.cleanup.updates, map), prefix, {after, after});
    }
    plan_.visible = plan_.visible || before != after;
  }

  // ---- entries ----

  [[nodiscard]] const PolicySet& current(std::uint32_t set) const {
    static const PolicySet none;
    const auto it = mirror_.sets.find(set);
    return it == mirror_.sets.end() ? none : it->second;
  }

  // Of any peer, or of names, whose addresses endpoints learn by themselves.
  static bool needs_no_peer(std::uint32_t cidr_id) {
    return cidr_id == SLUICE_CIDR_ANY || (cidr_id & SLUICE_CIDR_NAME) != 0;
  }
  // True if a packet may look up entries of this class in the view in force.
  [[nodiscard]] bool reachable_now(const PolicySet& set,
                                   std::uint32_t cidr_id) const {
    return set.records > 0 &&
           (needs_no_peer(cidr_id) || mirror_.peers.references(cidr_id) > 0);
  }
  // The same in the wanted view.
  [[nodiscard]] bool reachable_then(std::uint32_t set,
                                    std::uint32_t cidr_id) const {
    if (targets_.of_set(set).empty()) {
      return false;
    }
    if (needs_no_peer(cidr_id)) {
      return true;
    }
    const auto it = references_.find(cidr_id);
    return static_cast<std::int64_t>(mirror_.peers.references(cidr_id)) +
               (it == references_.end() ? 0 : it->second) >
           0;
  }

  void plan_entries(const std::vector<Transaction::EntryChange>& changes) {
    for (auto it = changes.begin(); it != changes.end();) {
      const std::uint32_t set = it->key.policy_id;
      Plan::SetChange change{.set = set, .bit = current(set).bit};
      for (; it != changes.end() && it->key.policy_id == set; ++it) {
        const auto& entries = current(set).entries;
        const auto old = entries.find(it->key);
        const bool present = old != entries.end();
        const bool same = it->value.has_value() == present &&
                          (!present || equal(old->second, *it->value));
        if (same) {
          continue;
        }
        change.entries.push_back(*it);
      }
      if (!change.entries.empty()) {
        plan_set(std::move(change));
      }
    }
  }

  void plan_set(Plan::SetChange change) {
    const PolicySet& now = current(change.set);
    bool in_place = true;
    change.counts = now.counts;
    for (const auto& entry : change.entries) {
      const bool present = now.entries.contains(entry.key);
      change.counts.add(entry.key, (entry.value ? 1 : 0) - (present ? 1 : 0));
      // Entries are added before the epoch is incremented and deleted after it.
      // In place, that is right only if no packet looks them up at that time.
      in_place = in_place &&
                 !(entry.value ? reachable_now(now, entry.key.cidr_id)
                               : reachable_then(change.set, entry.key.cidr_id));
    }
    if (in_place) {
      write_in_place(now, change);
      keep_beside(now, change);
    } else {
      change.bit = now.bit ^ 1;
      if (now.standby) {
        refresh(now, change);
      } else {
        rewrite(now, change);
      }
      keep_or_erase(now, change);
    }
    changed_sets_.emplace(change.set, plan_.sets.size());
    plan_.sets.push_back(std::move(change));
  }

  void write_in_place(const PolicySet& now, const Plan::SetChange& change) {
    for (const auto& entry : change.entries) {
      const auto key = kernel_key(entry.key, change.bit);
      const auto old = now.entries.find(entry.key);
      if (!entry.value) {
        of(plan_.cleanup.erases, Map::kPolicy).push(key);
      } else if (old == now.entries.end()) {
        of(plan_.adds, Map::kPolicy).push(key, *entry.value);
      } else {
        of(plan_.changes, Map::kPolicy).push(key, *entry.value);
        of(plan_.restores, Map::kPolicy).push(key, old->second);
      }
    }
  }

  void rewrite(const PolicySet& now, const Plan::SetChange& change) {
    auto& adds = of(plan_.adds, Map::kPolicy);
    std::unordered_set<sluice_policy_key, PolicyKeyHash, PolicyKeyEqual>
        changed;
    for (const auto& entry : change.entries) {
      changed.insert(entry.key);
      if (entry.value) {
        adds.push(kernel_key(entry.key, change.bit), *entry.value);
      }
    }
    for (const auto& [key, value] : now.entries) {
      if (!changed.contains(key)) {
        adds.push(kernel_key(key, change.bit), value);
      }
    }
  }

  // Makes what stands by the next generation.
  void refresh(const PolicySet& now, Plan::SetChange& change) {
    change.refreshes = true;
    for (const auto& entry : standby_entries(now, change.entries)) {
      const auto key = kernel_key(entry.key, change.bit);
      if (!entry.wanted) {
        plan_.erases.push(key);
        continue;
      }
      of(plan_.adds, Map::kPolicy).push(key, *entry.wanted);
      plan_.overwrites += entry.held ? 1 : 0;
    }
  }

  // A standby is worth its room if the next change will likely write less, and
  // if there is much room.
  [[nodiscard]] bool deserves_standby(const PolicySet& now,
                                      std::size_t differences) const {
    const std::size_t others = mirror_.count(Map::kPolicy) + new_standbys_ -
                               (now.standby ? now.standby->entries : 0);
    return now.entries.size() >= options_.standby_min &&
           differences <= now.entries.size() / 2 &&
           others + now.entries.size() <= maps_.capacity(Map::kPolicy) / 2;
  }

  // After a change that puts another generation into force.
  void keep_or_erase(const PolicySet& now, Plan::SetChange& change) {
    if (deserves_standby(now, change.entries.size())) {
      change.standby = standby_of(now, change.entries);
      new_standbys_ += now.standby ? 0 : now.entries.size();
      return;
    }
    for (const auto& [key, value] : now.entries) {
      of(plan_.cleanup.erases, Map::kPolicy).push(kernel_key(key, now.bit));
    }
  }

  // After a change of the generation in force.
  void keep_beside(const PolicySet& now, Plan::SetChange& change) {
    if (!now.standby) {
      return;
    }
    auto standby = standby_beside(now, change.entries);
    if (deserves_standby(now, standby.differences.size())) {
      change.standby = std::move(standby);
    } else {
      push_standby(change.set, now, of(plan_.cleanup.erases, Map::kPolicy));
    }
  }

  // ---- endpoints ----

  Result<void> plan_records() {
    auto touched = targets_.dirty();
    for (const auto& change : plan_.sets) {
      const auto& now = current(change.set);
      if (change.bit != now.bit ||
          change.counts.flags() != now.counts.flags()) {
        const auto& members = targets_.of_set(change.set);
        touched.insert(members.begin(), members.end());
      }
    }
    for (const std::uint32_t ifindex : touched) {
      const auto it = mirror_.records.find(ifindex);
      Plan::RecordChange change{.ifindex = ifindex};
      if (it != mirror_.records.end()) {
        change.before = it->second;
      }
      if (const auto* endpoint = targets_.at(ifindex)) {
        change.after = wanted_record(*endpoint, targets_.link_of(ifindex));
        // A record without addresses belonged to no endpoint: adoption of the
        // interface's flows begins now.
        if (change.before &&
            (change.before->facts.ipv4 != 0 ||
             change.before->facts.ipv6 != EndpointAddress6{})) {
          change.after->facts.adopt_until = change.before->facts.adopt_until;
        }
        const auto index = change.before ? std::optional(change.before->index)
                                         : index_for(ifindex);
        if (!index) {
          return map_full(maps_, Map::kEndpointOverflow,
                          mirror_.overflow.size() + taken_.size() + 1);
        }
        change.after->index = *index;
      }
      plan_record(change);
    }
    return {};
  }

  [[nodiscard]] EndpointRecord wanted_record(const EndpointEntry& endpoint,
                                             const EndpointLink& link) const {
    EndpointRecord record;
    record.facts.on_link6 = link.on_link6;
    record.facts.adopt_until = link.adopt_until;
    record.policy.flags = SLUICE_EP_MANAGED | (endpoint.permits & kPermissions);
    const auto left_out = options_.isolated.find(endpoint.policy_set);
    for (const int direction : {SLUICE_INGRESS, SLUICE_EGRESS}) {
      if (endpoint.isolated[direction] ||
          (left_out != options_.isolated.end() &&
           left_out->second.at(static_cast<std::size_t>(direction)))) {
        record.policy.flags |= SLUICE_EP_ISOLATED(direction);
      }
    }
    if (const std::uint32_t set = endpoint.policy_set; set != 0) {
      const auto it = changed_sets_.find(set);
      const bool changed = it != changed_sets_.end();
      const unsigned bit =
          changed ? plan_.sets[it->second].bit : current(set).bit;
      const auto& counts =
          changed ? plan_.sets[it->second].counts : current(set).counts;
      record.policy.policy_id = SLUICE_POLICY_ID(set, bit);
      record.policy.flags |= counts.flags();
    }
    for (const auto& ip : endpoint.ips) {
      if (ip.v6) {
        record.facts.ipv6 = ip.bytes;
      } else {
        std::memcpy(&record.facts.ipv4, ip.bytes.data(),
                    sizeof(record.facts.ipv4));
      }
    }
    return record;
  }

  std::optional<std::uint32_t> index_for(std::uint32_t ifindex) {
    if (ifindex < SLUICE_ENDPOINTS_DIRECT) {
      return ifindex;
    }
    for (; next_index_ < SLUICE_ENDPOINTS_MAX; ++next_index_) {
      if (!mirror_.overflow.contains(next_index_) &&
          taken_.insert(next_index_).second) {
        return next_index_;
      }
    }
    return std::nullopt;
  }

  void plan_record(const Plan::RecordChange& change) {
    const auto& [ifindex, before, after] = change;
    const auto policy = [](const std::optional<EndpointRecord>& record) {
      return record ? record->policy : sluice_endpoint_policy{};
    };
    if ((!before && !after) ||
        (before && after && same_policy(before->policy, after->policy) &&
         same_facts(*before, *after))) {
      return;
    }
    plan_.visible = true;
    plan_.records.push_back(change);
    const std::uint32_t index = change.index();
    plan_.cleanup.stores.push_back({.index = index,
                                    .slot = slot_,
                                    .policy = policy(after),
                                    .clear_facts = !after});
    if (ifindex >= SLUICE_ENDPOINTS_DIRECT && !before) {
      of(plan_.adds, Map::kEndpointOverflow).push(ifindex, index);
    }
    if (ifindex >= SLUICE_ENDPOINTS_DIRECT && !after) {
      of(plan_.cleanup.erases, Map::kEndpointOverflow).push(ifindex);
    }
  }

  const Mirror& mirror_;
  const EndpointTargets& targets_;
  const Maps& maps_;
  const PlanOptions& options_;
  std::size_t new_standbys_ = 0;  // entries
  const unsigned slot_;
  PeerView now_;
  PeerView wanted_;
  // How the number of addresses of a class changes.
  std::unordered_map<std::uint32_t, std::int64_t> references_;
  std::unordered_map<std::uint32_t, std::size_t> changed_sets_;
  std::unordered_set<std::uint32_t> taken_;
  std::uint32_t next_index_ = SLUICE_ENDPOINTS_DIRECT;
  Plan plan_;
};

void count_record(Mirror& mirror, const std::optional<EndpointRecord>& record,
                  bool added) {
  if (!record || record->policy.policy_id == 0) {
    return;
  }
  const std::uint32_t id = record->policy.policy_id;
  const std::uint32_t set = SLUICE_POLICY_SET(id);
  auto& counted = mirror.sets[set];
  counted.records += added ? 1 : -1;
  if (added) {
    counted.bit = id & 1;
  } else if (counted.records == 0 && counted.entries.empty()) {
    mirror.sets.erase(set);
  }
}

void commit_set(Mirror& mirror, const Plan::SetChange& change) {
  auto& set = mirror.sets[change.set];
  set.bit = change.bit;
  set.counts = change.counts;
  mirror.standbys -= set.standby ? set.standby->entries : 0;
  set.standby = change.standby;
  mirror.standbys += set.standby ? set.standby->entries : 0;
  mirror.entries -= set.entries.size();
  for (const auto& entry : change.entries) {
    if (entry.value) {
      set.entries.insert_or_assign(entry.key, *entry.value);
    } else {
      set.entries.erase(entry.key);
    }
  }
  mirror.entries += set.entries.size();
}

}  // namespace

bool Cleanup::empty() const {
  const auto none = [](const Batch& batch) { return batch.empty(); };
  return stores.empty() && std::ranges::all_of(erases, none) &&
         std::ranges::all_of(updates, none);
}

void Delta::merge(const std::vector<Transaction::PeerChange>& more_peers,
                  const std::vector<Transaction::EntryChange>& more_entries) {
  peers.insert(peers.end(), more_peers.begin(), more_peers.end());
  entries.insert(entries.end(), more_entries.begin(), more_entries.end());
  keep_last(peers, &Transaction::PeerChange::prefix);
  keep_last(entries, &Transaction::EntryChange::key, PolicyKeyLess{});
}

Result<Plan> make_plan(const Mirror& mirror, const Delta& delta,
                       const EndpointTargets& targets, const Maps& maps,
                       const PlanOptions& options, Shortage& shortage) {
  return Planner(mirror, targets, maps, options).run(delta, shortage);
}

void commit(Mirror& mirror, const Plan& plan) {
  for (const auto& change : plan.peers) {
    mirror.peers.set(change.prefix, change.cidr_id);
  }
  for (const auto& change : plan.sets) {
    commit_set(mirror, change);
  }
  for (const auto& change : plan.records) {
    count_record(mirror, change.after, true);
    count_record(mirror, change.before, false);
    const std::uint32_t index = change.index();
    if (change.after) {
      mirror.records.insert_or_assign(change.ifindex, *change.after);
    } else {
      mirror.records.erase(change.ifindex);
    }
    if (index >= SLUICE_ENDPOINTS_DIRECT) {
      if (change.after) {
        mirror.overflow.insert(index);
      } else {
        mirror.overflow.erase(index);
      }
    }
  }
  for (const auto& change : plan.sets) {
    const auto set = mirror.sets.find(change.set);
    if (set != mirror.sets.end() && set->second.entries.empty() &&
        set->second.records == 0) {
      mirror.sets.erase(set);
    }
  }
}

std::unexpected<Error> map_full(const Maps& maps, Map map, std::size_t needed) {
  return std::unexpected(
      Error{.message = "map " + std::string(map_name(map)) +
                       " is full: " + std::to_string(maps.capacity(map)) +
                       " entries, " + std::to_string(needed) + " needed",
            .code = ENOSPC});
}

}  // namespace sluice::agent
