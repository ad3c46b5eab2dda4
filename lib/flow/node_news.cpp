// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/node_news.h"

#include <algorithm>

#include "lib/flow/time.h"

namespace sluice::flow {
namespace {

// What agents say of a number is bounded.
constexpr std::uint64_t kLostMax = std::uint64_t{1} << 62U;

}  // namespace

NodeNews::Entry& NodeNews::entry_of(std::size_t place,
                                    const std::string& node) {
  const auto [found, fresh] = entries_.try_emplace(place);
  if (fresh) {
    found->second.node = node;
    order_.push_back(place);
  }
  return found->second;
}

void NodeNews::tell(std::size_t place, const std::string& node,
                    ::relay::NodeState state, const std::string& why) {
  entry_of(place, node).told = {state, why};
}

void NodeNews::tell_lost(std::size_t place, const std::string& node,
                         std::uint64_t count, std::int64_t first,
                         std::int64_t last) {
  auto& lost = entry_of(place, node).lost;
  lost.first = lost.count == 0 ? first : lost.first;
  lost.last = last;
  lost.count += std::min(count, kLostMax - lost.count);
}

bool NodeNews::take(::observer::GetFlowsResponse& response) {
  if (order_.empty()) {
    return false;
  }
  auto& first = entries_.at(order_.front());
  if (first.lost.count > 0) {
    first.lost.time = now();
    write_lost(std::exchange(first.lost, {}), first.node, response);
  } else {
    response.Clear();
    set_time(now(), *response.mutable_time());
    response.set_node_name(name_);
    auto& status = *response.mutable_node_status();
    status.set_state_change(first.told->first);
    status.set_message(first.told->second);
    const auto what = *first.told;
    for (const auto place : order_) {
      auto& entry = entries_.at(place);
      if (entry.lost.count == 0 && entry.told == what) {
        status.add_node_names(entry.node);
        entry.told.reset();
      }
    }
  }
  std::erase_if(order_, [&](std::size_t place) {
    const auto found = entries_.find(place);
    const bool over = found->second.lost.count == 0 && !found->second.told;
    if (over) {
      entries_.erase(found);
    }
    return over;
  });
  return true;
}

}  // namespace sluice::flow
