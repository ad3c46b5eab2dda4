// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "lib/flow/record.h"

namespace sluice::flow {

// The last flows of a node, in the order in which they were added. A reader
// keeps its own place and so costs the writer nothing; one that is too slow
// misses what has been overwritten, and learns how much that is.
//
// May be used from several threads.
class Store {
 public:
  // `capacity`: flows, at least 1. `id`: random, tells the flows of this store
  // from those of others.
  Store(std::size_t capacity, std::uint64_t id);

  // Gives the record its place.
  void add(Record record);

  struct Read {
    std::vector<Record> records;
    std::uint64_t lost = 0;  // between `from` and the first of them
    std::uint64_t next = 0;  // the number to go on from
  };
  // At most `max` records with numbers of at least `from`.
  [[nodiscard]] Read read(std::uint64_t from, std::size_t max) const;
  // Of the oldest record, and the one that the next record will get; equal if
  // there is none.
  [[nodiscard]] std::uint64_t first() const;
  [[nodiscard]] std::uint64_t next() const;

  // The number of the oldest record that is not older than `time`
  // (Record::time, as far as records are in the order of time); next() if there
  // is none.
  [[nodiscard]] std::uint64_t since(std::int64_t time) const;

  struct Counters {
    std::size_t flows = 0;
    std::size_t capacity = 0;
    std::uint64_t seen = 0;  // since the beginning
  };
  [[nodiscard]] Counters counters() const;

 private:
  [[nodiscard]] std::uint64_t first_locked() const;

  const std::size_t capacity_;
  const std::uint64_t id_;
  mutable std::mutex mutex_;  // guards what follows
  std::vector<Record> ring_;  // number N is at N % capacity
  std::uint64_t next_ = 1;
};

}  // namespace sluice::flow
