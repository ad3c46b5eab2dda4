// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "agent/maps.h"
#include "agent/mirror.h"
#include "agent/targets.h"
#include "lib/base/result.h"
#include "sluice/state.h"

namespace sluice::agent {

using BatchPerMap = std::array<Batch, kMapCount>;
inline Batch& of(BatchPerMap& batches, Map map) {
  return batches[index_of(map)];
}
inline const Batch& of(const BatchPerMap& batches, Map map) {
  return batches[index_of(map)];
}

// Writes that no packet notices: they only touch what is not in force and what
// nothing refers to. Each may be done again.
struct Cleanup {
  BatchPerMap erases;
  BatchPerMap updates;
  struct Store {
    std::uint32_t index = 0;
    unsigned slot = 0;
    sluice_endpoint_policy policy{};
    bool clear_facts = false;
  };
  std::vector<Store> stores;
  // Packets may still be using what is cleaned up.
  bool grace_period_first = false;

  [[nodiscard]] bool empty() const;
};

// Wanted changes of what the mirror holds. Sorted, one per key.
struct Delta {
  std::vector<Transaction::PeerChange> peers;
  std::vector<Transaction::EntryChange> entries;
  [[nodiscard]] bool empty() const { return peers.empty() && entries.empty(); }
  // Adds later changes, which win.
  void merge(const std::vector<Transaction::PeerChange>& more_peers,
             const std::vector<Transaction::EntryChange>& more_entries);
};

// One transaction, worked out: what to write before the epoch steps, what
// after, and what then is in force.
struct Plan {
  // Before. `restores` undoes `changes`, element by element.
  BatchPerMap adds;
  BatchPerMap changes;
  BatchPerMap restores;
  struct RecordChange {
    std::uint32_t ifindex = 0;
    std::optional<EndpointRecord> before;
    std::optional<EndpointRecord> after;
    // At least one of the two is there.
    [[nodiscard]] std::uint32_t index() const {
      return before.value_or(after.value_or(EndpointRecord{})).index;
    }
  };
  std::vector<RecordChange> records;
  // True if a packet can notice: the epoch has to step.
  bool visible = false;
  // After.
  Cleanup cleanup;

  // In force when the epoch has stepped.
  std::vector<Transaction::PeerChange> peers;
  struct SetChange {
    std::uint32_t set = 0;
    unsigned bit = 0;
    std::vector<Transaction::EntryChange> entries;
    EntryCounts counts;
  };
  std::vector<SetChange> sets;

  [[nodiscard]] bool empty() const {
    return records.empty() && peers.empty() && sets.empty();
  }
};

// The policy map is too small: what it would have to hold while the changes are
// made, and which sets of them make it so.
struct Shortage {
  std::size_t needed = 0;  // 0: it is large enough
  struct Set {
    std::uint32_t id = 0;
    std::size_t adds = 0;     // entries written before any is deleted
    std::int64_t growth = 0;  // entries that are more in the end
  };
  std::vector<Set> sets;
};

// Works out how the kernel gets from `mirror` to `mirror` with `delta` and the
// records of `targets`. `slot` is the one in force. `isolated`: by policy set,
// directions in which its endpoints are isolated whatever they say themselves.
// Fails if a map is too small; of the policy map, `shortage` has the numbers.
using IsolatedSets = std::map<std::uint32_t, std::array<bool, 2>>;
Result<Plan> make_plan(const Mirror& mirror, const Delta& delta,
                       const EndpointTargets& targets, const Maps& maps,
                       unsigned slot, const IsolatedSets& isolated,
                       Shortage& shortage);

// The mirror once `plan` is in force and cleaned up.
void commit(Mirror& mirror, const Plan& plan);

std::unexpected<Error> map_full(const Maps& maps, Map map, std::size_t needed);

}  // namespace sluice::agent
