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

// Policy sets that the policy map has no room for. They are left out, so that
// everything else of a transaction takes effect.
namespace sluice::agent {

// A set that is left out. Either what was in force of it stays, or it has no
// entries and its endpoints are isolated.
struct HeldSet {
  bool isolated = false;
  std::array<bool, 2> directions{};  // to isolate, beside the endpoint's own
  std::size_t needs = 0;             // entries, to be put into force
  // What is wanted beyond the mirror; sorted, one per key.
  std::vector<Transaction::EntryChange> entries;
  std::string problem;  // for people, with the numbers
};
using HeldSets = std::map<std::uint32_t, HeldSet>;

// What is left out of `wanted` so that the rest fits, largest growth first.
// What was in force of a set stays only if it still says the same of every
// address and its endpoints' isolation is the same; else they are isolated.
HeldSets choose_held(const Shortage& shortage, const Mirror& mirror,
                     const Delta& wanted, const EndpointTargets& targets,
                     std::size_t capacity);
// `wanted` without what is left out. Sets that are isolated lose the entries
// that they have.
Delta without_held(const Delta& wanted, const HeldSets& held,
                   const Mirror& mirror);
// Moves those that have to be looked at again into `wanted`: for which there
// may be room now, or that it changes, or whose old state its peers may change.
// Gives the sets.
std::vector<std::uint32_t> take_back(HeldSets& held, Delta& wanted,
                                     const Mirror& mirror,
                                     std::size_t capacity);

}  // namespace sluice::agent
