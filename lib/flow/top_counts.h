// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

// Counters of many things in bounded memory. Internal to FlowCounts.
namespace sluice::flow {

template <typename Key>
struct Counted {
  std::vector<std::pair<Key, std::uint64_t>> items;
  std::uint64_t others = 0;
};

// A counter for each of the first `max` keys, and one for all others. A key of
// which there has been nothing for a quarter of an hour makes room for a new
// one; if it comes back, it begins at 0.
template <typename Key>
class BoundedCounts {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::minutes kIdle{15};

  explicit BoundedCounts(std::size_t max) : max_(max) {}

  void add(const Key& key, std::uint64_t count, Clock::time_point now) {
    auto found = items_.find(key);
    if (found == items_.end()) {
      if (items_.size() >= max_ && !make_room(now)) {
        others_ += count;
        return;
      }
      found = items_.emplace(key, Item{}).first;
    }
    found->second.count += count;
    found->second.last = now;
  }
  [[nodiscard]] Counted<Key> view() const {
    Counted<Key> result{.items = {}, .others = others_};
    result.items.reserve(items_.size());
    for (const auto& [key, item] : items_) {
      result.items.emplace_back(key, item.count);
    }
    return result;
  }

 private:
  struct Item {
    std::uint64_t count = 0;
    Clock::time_point last;
  };
  // Looks at all items once a minute at most.
  bool make_room(Clock::time_point now) {
    if (now >= look_after_) {
      look_after_ = now + std::chrono::minutes(1);
      std::erase_if(items_, [now](const auto& item) {
        return now - item.second.last >= kIdle;
      });
    }
    return items_.size() < max_;
  }

  std::size_t max_;
  std::map<Key, Item> items_;
  std::uint64_t others_ = 0;
  Clock::time_point look_after_;
};

// The keys of which there are most lately, `max` of them (space-saving, by
// Metwally, Agrawal and El Abbadi): a new key takes the place of the one with
// the least weight and begins with that weight, so one that is frequent stays.
// Weights are halved every ten minutes. A count is of what there has been since
// its key has its place.
template <typename Key>
class TopCounts {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::minutes kHalf{10};

  explicit TopCounts(std::size_t max) : max_(max) {}

  void add(const Key& key, std::uint64_t count) {
    auto found = items_.find(key);
    if (found == items_.end()) {
      Item item;
      if (items_.size() >= max_) {
        const auto least = std::ranges::min_element(
            items_, {}, [](const auto& each) { return each.second.weight; });
        item.weight = least->second.weight;
        items_.erase(least);
      }
      found = items_.emplace(key, item).first;
    }
    found->second.weight += count;
    found->second.count += count;
  }
  void turn(Clock::time_point now) {
    if (now < halve_at_) {
      return;
    }
    halve_at_ = now + kHalf;
    for (auto& [key, item] : items_) {
      item.weight /= 2;
    }
  }
  [[nodiscard]] std::vector<std::pair<Key, std::uint64_t>> view() const {
    std::vector<std::pair<Key, std::uint64_t>> result;
    result.reserve(items_.size());
    for (const auto& [key, item] : items_) {
      result.emplace_back(key, item.count);
    }
    return result;
  }

 private:
  struct Item {
    std::uint64_t weight = 0;
    std::uint64_t count = 0;
  };

  std::size_t max_;
  std::map<Key, Item> items_;
  Clock::time_point halve_at_;
};

}  // namespace sluice::flow
