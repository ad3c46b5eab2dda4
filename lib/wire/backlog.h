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

// Adds what `later` changes. Not yet sorted or without repetition: see tidy().
void append(Transaction& to, const Transaction& later);
// Of several changes of the same thing, the last one stays. Sorted afterwards.
void tidy(Transaction& transaction);
std::size_t size_of(const Transaction& transaction);

// What one agent is still to be given, and what it has been given but may not
// have got. Bounded: what cannot be sent yet is one snapshot or one
// transaction. Not thread-safe.
class Backlog {
 public:
  Backlog(std::size_t changes_max, std::size_t unacknowledged_max)
      : changes_max_(changes_max), unacknowledged_max_(unacknowledged_max) {}

  // The agent's view begins anew. `origin` is new too.
  void replace(std::uint64_t origin, std::uint64_t revision,
               std::shared_ptr<const State> state);
  enum class Added : std::uint8_t { kAlone, kMerged, kTooMuch };
  // kTooMuch: everything is dropped, and only replace() helps. Before the
  // first replace() too.
  Added add(std::shared_ptr<const Transaction> transaction);

  // What is to be sent now; from here on it counts as sent.
  [[nodiscard]] std::optional<Encoder> next();
  // True if next() would give something, once there is room for it.
  [[nodiscard]] bool waiting() const {
    return snapshot_ != nullptr || pending_ != nullptr;
  }

  // The agent has everything up to `revision`. False if it was never sent.
  bool acknowledge(std::uint64_t origin, std::uint64_t revision);
  // The agent comes back with what it has. True if it can go on from there: the
  // rest will be sent again. Else everything is dropped.
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
