// SPDX-License-Identifier: Apache-2.0
#include "agent/left_out.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace sluice::agent {
namespace {

using Change = Transaction::EntryChange;

// The set's part of sorted changes.
std::pair<std::vector<Change>::const_iterator,
          std::vector<Change>::const_iterator>
of_set(const std::vector<Change>& changes, std::uint32_t set) {
  const auto range = std::ranges::equal_range(
      changes, set, {}, [](const Change& change) -> std::uint32_t {
        return change.key.policy_id;
      });
  return {range.begin(), range.end()};
}

// Classes that addresses have before or after the changes, where they differ.
std::unordered_set<std::uint32_t> moved_classes(
    const Mirror& mirror, const std::vector<Transaction::PeerChange>& changes) {
  const PeerView before(mirror.peers);
  PeerView after(mirror.peers);
  for (const auto& change : changes) {
    after.change(change.prefix, change.cidr_id);
  }
  std::unordered_set<std::uint32_t> classes;
  for (const auto& change : changes) {
    const auto there = mirror.peers.find(change.prefix);
    const auto from = there ? *there : before.cover(change.prefix);
    const auto to =
        change.cidr_id ? *change.cidr_id : after.cover(change.prefix);
    if (from != to) {
      classes.insert(from);
      classes.insert(to);
    }
  }
  classes.erase(SLUICE_CIDR_ANY);
  return classes;
}

bool is_of(const EndpointRecord& record, std::uint32_t set) {
  return SLUICE_POLICY_SET(record.policy.policy_id) == set;
}

// True if some endpoint of the set has it in force, and all that do are
// isolated as they are to be.
bool isolates_alike(std::uint32_t set, const Mirror& mirror,
                    const EndpointTargets& targets) {
  bool any = false;
  for (const std::uint32_t ifindex : targets.of_set(set)) {
    const auto record = mirror.records.find(ifindex);
    const auto* endpoint = targets.at(ifindex);
    if (record == mirror.records.end() || endpoint == nullptr ||
        !is_of(record->second, set)) {
      continue;
    }
    any = true;
    for (const int direction : {SLUICE_INGRESS, SLUICE_EGRESS}) {
      const bool isolated =
          (record->second.policy.flags & SLUICE_EP_ISOLATED(direction)) != 0;
      if (isolated != endpoint->isolated[direction]) {
        return false;
      }
    }
  }
  return any;
}

const PolicySet& set_in(const Mirror& mirror, std::uint32_t set) {
  static const PolicySet none;
  const auto found = mirror.sets.find(set);
  return found == mirror.sets.end() ? none : found->second;
}

// All that is wanted of the set.
std::vector<Change> whole(const PolicySet& now,
                          const std::vector<Change>& changes) {
  EntryMap entries = now.entries;
  for (const auto& change : changes) {
    if (change.value) {
      entries.insert_or_assign(change.key, *change.value);
    } else {
      entries.erase(change.key);
    }
  }
  std::vector<Change> result;
  result.reserve(entries.size());
  for (const auto& [key, value] : entries) {
    result.push_back({.key = key, .value = value});
  }
  std::ranges::sort(result, [](const Change& a, const Change& b) {
    return PolicyKeyLess{}(a.key, b.key);
  });
  return result;
}

bool touches(const PolicySet& set,
             const std::unordered_set<std::uint32_t>& classes) {
  return !classes.empty() &&
         std::ranges::any_of(set.entries, [&](const auto& entry) {
           return classes.contains(entry.first.cidr_id);
         });
}

}  // namespace

LeftOutSet isolated_set(std::uint32_t set, const Mirror& mirror,
                        const Delta& wanted) {
  const auto [begin, end] = of_set(wanted.entries, set);
  LeftOutSet result{.isolated = true,
                    .entries = whole(set_in(mirror, set), {begin, end})};
  for (const auto& entry : result.entries) {
    result.directions.at(direction_of(entry.key)) = true;
  }
  return result;
}

std::string shortfall_text(Map map, std::size_t used, std::size_t capacity,
                           std::size_t needs, bool isolated) {
  return "map " + std::string(map_name(map)) + ": " + std::to_string(used) +
         " of " + std::to_string(capacity) +
         " entries are used and its policies need " + std::to_string(needs) +
         " more: " +
         (isolated ? "its pods are isolated until there is room"
                   : "what was in force before stays until there is room");
}

LeftOutSets choose_left_out(const Shortage& shortage, const Mirror& mirror,
                            const Delta& wanted, const EndpointTargets& targets,
                            std::size_t capacity) {
  auto sets = shortage.sets;
  std::ranges::sort(sets, std::greater<>{}, [](const Shortage::Set& set) {
    return std::pair(set.growth, set.adds);
  });
  const auto moved = moved_classes(mirror, wanted.peers);
  LeftOutSets left_out;
  std::size_t needed = shortage.needed;
  for (const auto& [id, adds, growth] : sets) {
    if (needed <= capacity) {
      break;
    }
    needed -= adds;
    const auto& now = set_in(mirror, id);
    const auto [begin, end] = of_set(wanted.entries, id);
    LeftOutSet set{.needs = adds, .entries = {begin, end}};
    if (!isolates_alike(id, mirror, targets) || touches(now, moved)) {
      set = isolated_set(id, mirror, wanted);
      set.needs = set.entries.size();
    }
    set.problem = shortfall_text(Map::kPolicy, mirror.entries, capacity,
                                 set.needs, set.isolated);
    left_out.emplace(id, std::move(set));
  }
  return left_out;
}

Delta without_left_out(const Delta& wanted, const LeftOutSets& left_out,
                       const Mirror& mirror) {
  Delta result{.peers = wanted.peers, .entries = {}};
  std::ranges::copy_if(wanted.entries, std::back_inserter(result.entries),
                       [&](const Change& change) {
                         return !left_out.contains(change.key.policy_id);
                       });
  std::vector<Change> removed;
  for (const auto& [id, set] : left_out) {
    if (set.isolated) {
      for (const auto& [key, value] : set_in(mirror, id).entries) {
        removed.push_back({.key = key, .value = std::nullopt});
      }
    }
  }
  result.merge({}, removed);
  return result;
}

std::vector<std::uint32_t> take_reconsidered(LeftOutSets& left_out,
                                             Delta& wanted,
                                             const Mirror& mirror,
                                             const Maps& maps, bool peers) {
  std::vector<std::uint32_t> taken;
  const std::size_t capacity = maps.capacity(Map::kPolicy);
  std::size_t room = capacity - std::min(capacity, mirror.entries);
  for (auto it = left_out.begin(); it != left_out.end();) {
    auto& [id, set] = *it;
    const bool lacks_entries = set.map == Map::kPolicy;
    const auto [begin, end] = of_set(wanted.entries, id);
    const bool fits = lacks_entries ? set.needs <= room : peers;
    if (!fits && begin == end && (set.isolated || wanted.peers.empty())) {
      ++it;
      continue;
    }
    room -= fits && lacks_entries ? set.needs : 0;
    // What came later wins.
    const std::vector<Change> later(begin, end);
    wanted.merge({}, set.entries);
    wanted.merge({}, later);
    taken.push_back(id);
    it = left_out.erase(it);
  }
  return taken;
}

}  // namespace sluice::agent
