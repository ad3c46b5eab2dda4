// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>

#include "lib/wire/codec.h"
#include "sluice/state.h"

namespace sluice::wire {

// Adds the changes of `later`. The result may be unsorted and have repetitions:
// see tidy().
void append(Transaction& to, const Transaction& later);
// Keeps the last of several changes of the same item. Sorted afterwards.
void tidy(Transaction& transaction);
std::size_t size_of(const Transaction& transaction);

// The data that must still be sent to one agent, and the data that was sent but
// may not have arrived. Bounded: pending data is one snapshot or one
// transaction. Not thread-safe.
class Backlog {
 public:
  Backlog(std::size_t changes_max, std::size_t unacknowledged_max)
      : changes_max_(changes_max), unacknowledged_max_(unacknowledged_max) {}

  // Restarts the agent's view, with a new `origin`.
  void replace(std::uint64_t origin, std::uint64_t revision,
               std::shared_ptr<const State> state);
  enum class Added : std::uint8_t { kAlone, kMerged, kTooMuch };
  // kTooMuch: everything is dropped, and replace() is needed. Also returned
  // before the first replace().
  Added add(std::shared_ptr<const Transaction> transaction);

  // Returns what must be sent now; it counts as sent from then on.
  [[nodiscard]] std::optional<Encoder> next();
  // True if next() has something to return when there is room for it.
  [[nodiscard]] bool waiting() const {
    return snapshot_ != nullptr || pending_ != nullptr;
  }

  // The agent has acknowledged `revision`. False if it was never sent.
  bool acknowledge(std::uint64_t origin, std::uint64_t revision);
  // The agent reconnects with this state. True if it can resume: the rest will
  // be sent again. Otherwise everything is dropped.
  bool resume(std::uint64_t origin, std::uint64_t revision);

  [[nodiscard]] std::uint64_t origin() const { return origin_; }

 private:
  struct Sent {
    std::uint64_t revision = 0;
    std::shared_ptr<const Transaction> transaction;  // null: the snapshot
  };
  void drop_all();
  void merge(const Transaction& transaction);

  std::size_t changes_max_;
  std::size_t unacknowledged_max_;
  std::uint64_t origin_ = 0;  // 0: nothing is known of the agent's view
  std::uint64_t acknowledged_ = 0;
  bool has_base_ = false;  // the agent has acknowledged the snapshot
  std::deque<Sent> sent_;
  std::uint64_t snapshot_revision_ = 0;
  std::shared_ptr<const State> snapshot_;       // to be sent
  std::shared_ptr<const Transaction> pending_;  // to be sent, after snapshot_
  std::shared_ptr<Transaction> merged_;  // the same one, if it may be changed
  std::size_t tidy_size_ = 0;            // of merged_, when it was last tidied
};

}  // namespace sluice::wire
