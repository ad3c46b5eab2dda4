// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/newest.h"

#include <algorithm>
#include <utility>

namespace sluice::flow {
namespace {

constexpr auto kNewerFirst = [](const Newest::Item& a, const Newest::Item& b) {
  return b < a;
};

std::size_t size_of(const Newest::Item& item) {
  return sizeof(item) + item.message.size();
}

}  // namespace

void Newest::remove_oldest() {
  std::ranges::pop_heap(heap_, kNewerFirst);
  bytes_ -= size_of(heap_.back());
  heap_.pop_back();
}

std::uint64_t Newest::cut() const {
  return count_ < wanted_ ? std::min(seen_, wanted_) - count_ : 0;
}

void Newest::add(Item item) {
  ++seen_;
  ++seen_of_[item.node];
  if (!has_room()) {
    if (count_ == 0 || item < heap_.front()) {
      return;
    }
    remove_oldest();
  }
  bytes_ += size_of(item);
  heap_.push_back(std::move(item));
  std::ranges::push_heap(heap_, kNewerFirst);
  while (bytes_ > bytes_max_ && heap_.size() > 1) {
    remove_oldest();
    count_ = heap_.size();
  }
}

void Newest::remove(std::size_t node) {
  seen_ -= std::exchange(seen_of_[node], 0);
  std::erase_if(heap_, [&](const Item& item) {
    const bool its = item.node == node;
    bytes_ -= its ? size_of(item) : 0;
    return its;
  });
  std::ranges::make_heap(heap_, kNewerFirst);
}

std::vector<Newest::Item> Newest::take() {
  std::ranges::sort(heap_, [](const Item& a, const Item& b) { return a < b; });
  bytes_ = 0;
  return std::exchange(heap_, {});
}

}  // namespace sluice::flow
