// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "agent/maps.h"
#include "agent/mirror.h"
#include "sluice/state.h"

// The generation of a large policy set that a change has put out of force is
// not deleted at once. The next change brings it up to date and puts it into
// force again. That writes what differs, where a generation written anew is as
// many writes as the set has entries.
namespace sluice::agent {

// How entries of the generation that stands by differ from those that a change
// wants there.
struct StandbyEntry {
  sluice_policy_key key{};  // without the generation bit
  std::optional<sluice_policy_value> held;
  std::optional<sluice_policy_value> wanted;
};
// All entries in which the set's standby differs from the entries in force once
// `changes` are; the standby exists.
std::vector<StandbyEntry> standby_entries(
    const PolicySet& set, const std::vector<Transaction::EntryChange>& changes);

// The set's entries in force as the standby of what `changes` make of them.
Standby standby_of(const PolicySet& set,
                   const std::vector<Transaction::EntryChange>& changes);
// The set's standby, which stays as it is while `changes` alter what is in
// force.
Standby standby_beside(const PolicySet& set,
                       const std::vector<Transaction::EntryChange>& changes);

// Adds the keys of all that stands by to `keys`; absent ones may be among them.
void push_standby(std::uint32_t id, const PolicySet& set, Batch& keys);
// Forgets standbys, or those that no change has used since the last call; their
// keys are added to `erases`.
void forget_standbys(Mirror& mirror, Batch& erases, bool only_unused);
// Forgets the standby of a set, if it has one, as above.
void forget_standby(Mirror& mirror, std::uint32_t id, Batch& erases);

}  // namespace sluice::agent
