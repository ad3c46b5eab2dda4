// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/store.h"

#include <algorithm>
#include <utility>

namespace sluice::flow {

Store::Store(std::size_t capacity, std::uint64_t id)
    : capacity_(std::max<std::size_t>(capacity, 1)), id_(id) {}

void Store::add(Record record) {
  Record old;  // destroyed outside the lock
  const std::scoped_lock lock(mutex_);
  record.store = id_;
  record.number = next_;
  const std::size_t place = next_ % capacity_;
  if (place >= ring_.size()) {
    ring_.resize(place + 1);
  }
  old = std::exchange(ring_[place], std::move(record));
  ++next_;
}

Store::Read Store::read(std::uint64_t from, std::size_t max) const {
  Read result;
  const std::scoped_lock lock(mutex_);
  const std::uint64_t begin = std::max(from, first_locked());
  const std::uint64_t end = std::min<std::uint64_t>(
      next_, max < next_ - std::min(begin, next_) ? begin + max : next_);
  result.lost = begin - std::min(from, begin);
  result.next = std::max(begin, end);
  for (std::uint64_t number = begin; number < end; ++number) {
    result.records.push_back(ring_[number % capacity_]);
  }
  return result;
}

std::uint64_t Store::first() const {
  const std::scoped_lock lock(mutex_);
  return first_locked();
}

std::uint64_t Store::next() const {
  const std::scoped_lock lock(mutex_);
  return next_;
}

std::uint64_t Store::since(std::int64_t time) const {
  const std::scoped_lock lock(mutex_);
  std::uint64_t begin = first_locked();
  std::uint64_t end = next_;
  while (begin < end) {
    const std::uint64_t middle = begin + ((end - begin) / 2);
    if (ring_[middle % capacity_].time < time) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin;
}

Store::Counters Store::counters() const {
  const std::scoped_lock lock(mutex_);
  return {.flows = static_cast<std::size_t>(next_ - first_locked()),
          .capacity = capacity_,
          .seen = next_ - 1};
}

std::uint64_t Store::first_locked() const {
  return next_ > capacity_ ? next_ - capacity_ : 1;
}

}  // namespace sluice::flow
