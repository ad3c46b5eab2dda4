// SPDX-License-Identifier: Apache-2.0
#include "agent/absent_peers.h"

#include <algorithm>
#include <set>
#include <utility>

namespace sluice::agent {
namespace {

using Change = Transaction::PeerChange;

// What a set says of one class; the keys without the class.
using Says = std::map<sluice_policy_key, sluice_policy_value, PolicyKeyLess>;
// By class and set; no class 0, of which every packet hears anyway.
using Statements = std::map<std::uint32_t, std::map<std::uint32_t, Says>>;

bool same(const Says& a, const Says& b) {
  return std::ranges::equal(a, b, [](const auto& one, const auto& other) {
    return equal(one.first, other.first) && equal(one.second, other.second);
  });
}

bool all(const Says& says, sluice_verdict verdict) {
  return std::ranges::all_of(says, [verdict](const auto& entry) {
    return entry.second.verdict == verdict;
  });
}

// New elements whose classes are alike, and so are those of the prefixes around
// them.
struct Group {
  std::vector<Change> changes;
  std::set<std::uint32_t> sets;  // that say something else of the two classes
  std::set<std::uint32_t> open;  // those that may allow more without them
};

class Chooser {
 public:
  Chooser(const Shortage& shortage, const Mirror& mirror, const Delta& wanted,
          const Delta& rest, const Maps& maps)
      : map_(shortage.map),
        capacity_(maps.capacity(map_)),
        over_(shortage.needed - std::min(shortage.needed, capacity_)),
        mirror_(&mirror),
        wanted_(&wanted) {
    group(rest);
    read(rest);
    compare();
  }

  bool run(AbsentPeers& absent, LeftOutSets& sets) {
    leave_out_what_nobody_needs(absent);
    while (over_ > 0) {
      const auto set = neediest();
      if (set == 0) {
        return false;
      }
      leave_out_of(set, absent);
      if (over_ > 0) {
        isolate(set, sets);
        leave_out_what_nobody_needs(absent);
      }
      done_.insert(set);
    }
    return true;
  }

 private:
  using Classes = std::pair<std::uint32_t, std::uint32_t>;

  void group(const Delta& rest) {
    PeerView view(mirror_->peers);
    for (const auto& change : rest.peers) {
      view.change(change.prefix, change.cidr_id);
    }
    for (const auto& change : rest.peers) {
      if (!change.cidr_id || peer_map(change.prefix) != map_ ||
          mirror_->peers.find(change.prefix)) {
        continue;
      }
      // Nodes are recognized by the marks of their addresses.
      if ((*change.cidr_id & (SLUICE_CIDR_NODE | SLUICE_CIDR_LOCAL_NODE)) ==
          0) {
        const auto around = view.cover(change.prefix);
        groups_[{*change.cidr_id, around}].changes.push_back(change);
        statements_[*change.cidr_id];
        statements_[around];
      }
    }
    statements_.erase(SLUICE_CIDR_ANY);
  }

  static sluice_policy_key without_class(sluice_policy_key key) {
    key.cidr_id = 0;
    return key;
  }

  void read(const Delta& rest) {
    for (const auto& [id, set] : mirror_->sets) {
      for (const auto& [key, value] : set.entries) {
        const auto found = statements_.find(key.cidr_id);
        if (found != statements_.end()) {
          found->second[id].emplace(without_class(key), value);
        }
      }
    }
    for (const auto& [key, value] : rest.entries) {
      const auto found = statements_.find(key.cidr_id);
      if (found == statements_.end()) {
        continue;
      }
      auto& says = found->second[key.policy_id];
      if (value) {
        says.insert_or_assign(without_class(key), *value);
      } else {
        says.erase(without_class(key));
      }
    }
  }

  [[nodiscard]] const Says& says(std::uint32_t cidr_id,
                                 std::uint32_t set) const {
    static const Says nothing;
    const auto of_class = statements_.find(cidr_id);
    if (of_class == statements_.end()) {
      return nothing;
    }
    const auto found = of_class->second.find(set);
    return found == of_class->second.end() ? nothing : found->second;
  }

  void compare() {
    for (auto& [classes, group] : groups_) {
      for (const auto cidr_id : {classes.first, classes.second}) {
        const auto found = statements_.find(cidr_id);
        if (found == statements_.end()) {
          continue;
        }
        for (const auto& [set, unused] : found->second) {
          compare(set, classes, group);
        }
      }
    }
  }
  void compare(std::uint32_t set, const Classes& classes, Group& group) const {
    const auto& own = says(classes.first, set);
    const auto& around = says(classes.second, set);
    if (same(own, around)) {
      return;
    }
    group.sets.insert(set);
    const bool closed = (around.empty() && all(own, SLUICE_VERDICT_ALLOW)) ||
                        (own.empty() && all(around, SLUICE_VERDICT_DENY));
    if (!closed) {
      group.open.insert(set);
    }
  }

  void leave_out(const Classes& classes, Group& group, std::size_t count,
                 AbsentPeers& absent) {
    for (; count > 0; --count) {
      absent.changes.push_back(group.changes.back());
      ++absent.counts[map_];
      group.changes.pop_back();
      over_ -= over_ > 0 ? 1 : 0;
      for (const std::uint32_t set : group.sets) {
        ++absent.lacking[set][map_];
      }
    }
    absent.classes.insert({classes.first, classes.second});
  }

  void leave_out_what_nobody_needs(AbsentPeers& absent) {
    for (auto& [classes, group] : groups_) {
      if (group.sets.empty() && !group.changes.empty()) {
        leave_out(classes, group, group.changes.size(), absent);
      }
    }
  }

  // The set that needs the most of these elements; 0 if there is none.
  [[nodiscard]] std::uint32_t neediest() const {
    std::map<std::uint32_t, std::size_t> needs;
    for (const auto& [classes, group] : groups_) {
      for (const std::uint32_t set : group.sets) {
        needs[set] += done_.contains(set) ? 0 : group.changes.size();
      }
    }
    const auto most = std::ranges::max_element(
        needs, {}, [](const auto& need) { return need.second; });
    return most == needs.end() || most->second == 0 ? 0 : most->first;
  }

  // Elements of the set without which nobody gets more than policy allows: all
  // that it alone needs, so that there is room for later changes of others, and
  // as many as necessary of those that the fewest others need.
  void leave_out_of(std::uint32_t set, AbsentPeers& absent) {
    std::vector<std::pair<const Classes, Group>*> own;
    for (auto& entry : groups_) {
      if (entry.second.sets.contains(set) && entry.second.open.empty()) {
        own.push_back(&entry);
      }
    }
    std::ranges::stable_sort(
        own, {}, [](const auto* entry) { return entry->second.sets.size(); });
    for (auto* entry : own) {
      auto& [classes, group] = *entry;
      const auto count = group.sets.size() == 1
                             ? group.changes.size()
                             : std::min(group.changes.size(), over_);
      leave_out(classes, group, count, absent);
    }
  }

  void isolate(std::uint32_t set, LeftOutSets& sets) {
    std::size_t needs = 0;
    for (auto& [classes, group] : groups_) {
      needs += group.sets.contains(set) ? group.changes.size() : 0;
      group.sets.erase(set);
      group.open.erase(set);
    }
    auto left_out = isolated_set(set, *mirror_, *wanted_);
    left_out.map = map_;
    left_out.needs = needs;
    left_out.problem =
        shortfall_text(map_, mirror_->count(map_), capacity_, needs, true);
    sets.insert_or_assign(set, std::move(left_out));
  }

  Map map_;
  std::size_t capacity_;
  std::size_t over_;
  const Mirror* mirror_;
  const Delta* wanted_;
  std::map<Classes, Group> groups_;
  Statements statements_;
  std::set<std::uint32_t> done_;
};

}  // namespace

void AbsentPeers::merge(AbsentPeers more) {
  changes.insert(changes.end(), more.changes.begin(), more.changes.end());
  std::ranges::sort(changes, {}, &Change::prefix);
  classes.merge(more.classes);
  for (const auto& [map, number] : more.counts) {
    counts[map] += number;
  }
  for (const auto& [set, maps] : more.lacking) {
    for (const auto& [map, number] : maps) {
      lacking[set][map] += number;
    }
  }
}

std::string AbsentPeers::problem(std::uint32_t set, const Mirror& mirror,
                                 const Maps& maps) const {
  const auto found = lacking.find(set);
  std::string result;
  if (found == lacking.end()) {
    return result;
  }
  for (const auto& [map, number] : found->second) {
    result += (result.empty() ? "" : "; ") + std::string("map ") +
              std::string(map_name(map)) + ": " +
              std::to_string(mirror.count(map)) + " of " +
              std::to_string(maps.capacity(map)) + " entries are used and " +
              std::to_string(number) +
              " more peers of its policies have no room: nothing is allowed "
              "for them until there is room";
  }
  return result;
}

bool choose_absent(const Shortage& shortage, const Mirror& mirror,
                   const Delta& wanted, const Delta& rest, const Maps& maps,
                   AbsentPeers& absent, LeftOutSets& sets) {
  const bool enough =
      Chooser(shortage, mirror, wanted, rest, maps).run(absent, sets);
  std::ranges::sort(absent.changes, {}, &Change::prefix);
  for (const auto& [id, set] : sets) {
    absent.lacking.erase(id);
  }
  return enough;
}

Delta without_absent(Delta delta, const AbsentPeers& absent) {
  std::erase_if(delta.peers, [&absent](const Change& change) {
    return std::ranges::binary_search(absent.changes, change.prefix, {},
                                      &Change::prefix);
  });
  return delta;
}

bool take_absent(AbsentPeers& absent, Delta& wanted, const Mirror& mirror,
                 const Maps& maps) {
  if (absent.empty()) {
    return false;
  }
  const bool fits = std::ranges::all_of(absent.counts, [&](const auto& count) {
    const auto& [map, number] = count;
    return mirror.count(map) + number <= maps.capacity(map);
  });
  const auto is_single = [](const IpPrefix& prefix) {
    return prefix.length == prefix.address.bits();
  };
  const bool touched =
      std::ranges::any_of(wanted.peers,
                          [&](const Change& change) {
                            return !is_single(change.prefix) ||
                                   std::ranges::binary_search(absent.changes,
                                                              change.prefix, {},
                                                              &Change::prefix);
                          }) ||
      std::ranges::any_of(wanted.entries, [&](const auto& change) {
        return absent.classes.contains(change.key.cidr_id);
      });
  if (!fits && !touched) {
    return false;
  }
  Delta both{.peers = std::move(absent.changes), .entries = {}};
  both.merge(wanted.peers, wanted.entries);
  wanted = std::move(both);
  absent = {};
  return true;
}

}  // namespace sluice::agent
