// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "agent/mirror.h"
#include "agent/plan.h"
#include "agent/targets.h"
#include "sluice/state.h"

// Policy sets for which a map has no room. They are left out, so that the rest
// of a transaction takes effect.
namespace sluice::agent {

// A set that is left out. Either its entries that were in force stay in force,
// or it has no entries and its endpoints are isolated.
struct LeftOutSet {
  bool isolated = false;
  std::array<bool, 2> directions{};  // to isolate, beside the endpoint's own
  Map map = Map::kPolicy;            // that has no room
  std::size_t needs = 0;             // elements that it would add to this map
  // Changes from the mirror to the wanted entries; sorted, one per key.
  std::vector<Transaction::EntryChange> entries;
  std::string problem;  // for people, with the numbers
};
using LeftOutSets = std::map<std::uint32_t, LeftOutSet>;

// A set that is left out and isolates its endpoints, without `needs` and
// `problem`.
LeftOutSet isolated_set(std::uint32_t set, const Mirror& mirror,
                        const Delta& wanted);
// "map policy: 3 of 10 entries are used and its policies need 8 more: ...".
std::string shortfall_text(Map map, std::size_t used, std::size_t capacity,
                           std::size_t needs, bool isolated);

// Chooses the sets to leave out of `wanted` so that the rest fits; the set that
// grows most comes first. A set's old entries stay in force only if they still
// give the same verdict for every address and the isolation of its endpoints is
// unchanged; otherwise its endpoints are isolated.
LeftOutSets choose_left_out(const Shortage& shortage, const Mirror& mirror,
                            const Delta& wanted, const EndpointTargets& targets,
                            std::size_t capacity);
// Returns `wanted` without the sets that are left out. If a set's endpoints are
// isolated, the entries that it has in force are deleted.
Delta without_left_out(const Delta& wanted, const LeftOutSets& left_out,
                       const Mirror& mirror);
// Moves sets that have to be planned again from `left_out` to `wanted`: sets
// for which there may be room now (where a map of peers lacks it: all if
// `peers` are planned again), sets that `wanted` changes, and sets whose old
// entries may get another meaning by its changes of peers. Returns these sets.
std::vector<std::uint32_t> take_reconsidered(LeftOutSets& left_out,
                                             Delta& wanted,
                                             const Mirror& mirror,
                                             const Maps& maps, bool peers);

}  // namespace sluice::agent
