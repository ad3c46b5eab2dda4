// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <utility>

namespace sluice::wire {

// What is due when. A value.
template <typename Item>
class Deadlines {
 public:
  using Clock = std::chrono::steady_clock;

  void add(Clock::time_point when, Item item) {
    items_.emplace(when, std::move(item));
  }

  // Removes all items that are due at `now`, the earliest first, and calls
  // `expire(item, when)` for each after its removal.
  template <typename Expire>
  void run(Clock::time_point now, const Expire& expire) {
    while (!items_.empty() && items_.begin()->first <= now) {
      const auto node = items_.extract(items_.begin());
      expire(node.mapped(), node.key());
    }
  }

  // When the next item is due; Clock::time_point::max() if there is none.
  [[nodiscard]] Clock::time_point next() const {
    return items_.empty() ? Clock::time_point::max() : items_.begin()->first;
  }

 private:
  std::multimap<Clock::time_point, Item> items_;
};

}  // namespace sluice::wire
