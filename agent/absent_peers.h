// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "agent/left_out.h"
#include "agent/mirror.h"
#include "agent/plan.h"
#include "sluice/state.h"

// Addresses and prefixes for which a map of peers has no room. They are left
// out, so that the rest of a transaction takes effect.
//
// Without its element, an address is judged as the prefix around it is. Nobody
// gets more than policy allows by that: an address is left out where no policy
// set says something else of it than of that prefix, or where the sets that do
// only allow more. Of sets with which neither is so, those with the most such
// addresses are isolated instead.
namespace sluice::agent {

struct AbsentPeers {
  std::vector<Transaction::PeerChange> changes;  // sorted, one per prefix
  std::map<Map, std::size_t> counts;             // of them, by map
  // How many of them each policy set lacks, by map. Such a set allows less than
  // its policies do.
  std::map<std::uint32_t, std::map<Map, std::size_t>> lacking;
  // Classes of the addresses and of the prefixes around them. Whether one may
  // be left out depends on what sets say of these.
  std::unordered_set<std::uint32_t> classes;

  [[nodiscard]] bool empty() const { return changes.empty(); }
  // Adds what else is left out.
  void merge(AbsentPeers more);
  // For people, with the numbers; empty if the set lacks none.
  [[nodiscard]] std::string problem(std::uint32_t set, const Mirror& mirror,
                                    const Maps& maps) const;
};

// Chooses what to leave out of `rest` so that the map of `shortage` has room:
// adds to `absent`, and to `sets` those to isolate. `wanted`: `rest` and the
// sets that are left out of it already. False if that does not make enough
// room; what has been added is of no use then.
bool choose_absent(const Shortage& shortage, const Mirror& mirror,
                   const Delta& wanted, const Delta& rest, const Maps& maps,
                   AbsentPeers& absent, LeftOutSets& sets);
// Returns `delta` without what is absent.
Delta without_absent(Delta delta, const AbsentPeers& absent);
// Moves everything from `absent` to `wanted` if there is room for it, or if
// `wanted` may change whether it may be left out. True if it did.
bool take_absent(AbsentPeers& absent, Delta& wanted, const Mirror& mirror,
                 const Maps& maps);

}  // namespace sluice::agent
