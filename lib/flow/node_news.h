// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "lib/flow/lost_events.h"
#include "observer.pb.h"

namespace sluice::flow {

// What a client has to be told of nodes. The last word about a node counts, so
// that nothing grows for a client that reads nothing. Internal to
// ClusterReader. Not thread-safe.
class NodeNews {
 public:
  // `name`: whose word it is what becomes of nodes.
  explicit NodeNews(std::string name) : name_(std::move(name)) {}

  // `place` stands for the node.
  void tell(std::size_t place, const std::string& node,
            ::relay::NodeState state, const std::string& why);
  // So many more flows of the node were lost, between these times; see
  // LostEvents.
  void tell_lost(std::size_t place, const std::string& node,
                 std::uint64_t count, std::int64_t first, std::int64_t last);
  // Makes the response what has to be told of a node, or of several of which it
  // is the same. False if there is nothing; the response is unchanged then.
  bool take(::observer::GetFlowsResponse& response);

 private:
  struct Entry {
    std::string node;
    std::optional<std::pair<::relay::NodeState, std::string>> told;
    LostEvents lost;
  };
  Entry& entry_of(std::size_t place, const std::string& node);

  std::string name_;
  std::unordered_map<std::size_t, Entry> entries_;
  std::deque<std::size_t> order_;  // of the keys of entries_
};

}  // namespace sluice::flow
