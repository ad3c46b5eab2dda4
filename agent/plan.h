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

// Writes that are invisible to packets: they only touch inactive slots and
// unreferenced elements. Idempotent.
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

// Wanted changes of the mirror. Sorted, one per key.
struct Delta {
  std::vector<Transaction::PeerChange> peers;
  std::vector<Transaction::EntryChange> entries;
  [[nodiscard]] bool empty() const { return peers.empty() && entries.empty(); }
  // Adds later changes, which win.
  void merge(const std::vector<Transaction::PeerChange>& more_peers,
             const std::vector<Transaction::EntryChange>& more_entries);
};

// The plan of one transaction: what to write before and after the epoch is
// incremented, and what is in force then.
struct Plan {
  // Before, in this order. `erases` are policy entries that stand by, and
  // `overwrites` the number of those that `adds` replace: undoing them means to
  // delete the whole standby. `restores` undoes `changes`, element by element.
  Batch erases;
  std::size_t overwrites = 0;
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
  // True if verdicts may change, so that the epoch has to be incremented.
  bool visible = false;
  // After.
  Cleanup cleanup;

  // In force after the epoch has been incremented.
  std::vector<Transaction::PeerChange> peers;
  struct SetChange {
    std::uint32_t set = 0;
    unsigned bit = 0;
    std::vector<Transaction::EntryChange> entries;
    EntryCounts counts;
    std::optional<Standby> standby;
    // The generation that comes into force is the one that stood by.
    bool refreshes = false;
  };
  std::vector<SetChange> sets;

  [[nodiscard]] bool empty() const {
    return records.empty() && peers.empty() && sets.empty();
  }
  // By how much a map grows before the epoch is incremented.
  [[nodiscard]] std::size_t growth(Map map) const {
    const auto added = of(adds, map).size();
    const auto gone = map == Map::kPolicy ? overwrites + erases.size() : 0;
    return added > gone ? added - gone : 0;
  }
};

// The policy map or one of peers is too small: the number of elements that it
// would have to hold during the transaction and, for the policy map, the sets
// that add entries.
struct Shortage {
  Map map = Map::kPolicy;
  std::size_t needed = 0;  // 0: the maps are large enough
  struct Set {
    std::uint32_t id = 0;
    std::size_t adds = 0;     // entries written before any is deleted
    std::int64_t growth = 0;  // entries after the transaction minus before
  };
  std::vector<Set> sets;
};

using IsolatedSets = std::map<std::uint32_t, std::array<bool, 2>>;
struct PlanOptions {
  unsigned slot = 0;  // in force
  // By policy set, the directions in which its endpoints are isolated in
  // addition to their own isolation.
  IsolatedSets isolated;
  // A smaller set has no standby.
  std::size_t standby_min = 0;
};
// Plans the writes that take the kernel from `mirror` to `mirror` with `delta`
// and the records of `targets`. Fails if a map is too small; if it is the
// policy map or one of peers, `shortage` has the numbers.
Result<Plan> make_plan(const Mirror& mirror, const Delta& delta,
                       const EndpointTargets& targets, const Maps& maps,
                       const PlanOptions& options, Shortage& shortage);

// The mirror once `plan` is in force and cleaned up.
void commit(Mirror& mirror, const Plan& plan);

std::unexpected<Error> map_full(const Maps& maps, Map map, std::size_t needed);

}  // namespace sluice::agent
