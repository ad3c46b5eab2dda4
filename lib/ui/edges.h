// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <unordered_map>
#include <vector>

#include "flow.pb.h"

namespace sluice::ui {

// One end of an edge: everything that a reader of the map takes for the same.
struct EdgeEnd {
  std::string type;  // "workload", "service", "name", "entity"
  std::string ns;
  std::string kind;  // of a workload: "Deployment"
  std::string name;
  auto operator<=>(const EdgeEnd&) const = default;
};

struct Edge {
  std::uint64_t id = 0;  // of its table
  EdgeEnd from;
  EdgeEnd to;
  std::string protocol;    // "TCP", "ICMPv4"; empty: unknown
  std::uint32_t port = 0;  // of the destination; ICMP: the type
  bool allowed = false;
  bool egress = false;  // decided by the policy of the source's pod
  std::string reason;   // of a drop
  std::vector<std::string> policies;  // "NetworkPolicy/shop/web"; some

  std::uint64_t flows = 0;
  std::uint64_t changed = 0;  // EdgeTable::changes() when it was seen last
  std::int64_t first = 0;     // nanoseconds since 1970
  std::int64_t last = 0;
  // The last flow, for questions about it: "namespace/pod", or an address.
  std::string source;
  std::string destination;
};

// Flows by what they have in common, so that a reader gets thousands of them a
// second as a few numbers. If there are more edges than it holds, those that
// were not seen for the longest time go. One thread.
class EdgeTable {
 public:
  explicit EdgeTable(std::size_t max) : max_(max) {}

  void add(const ::flow::Flow& flow);

  // The number of flows so far.
  [[nodiscard]] std::uint64_t changes() const { return changes_; }
  // The edges that have been seen after that many flows, the oldest first, at
  // most `max`. Valid until the next add().
  [[nodiscard]] std::vector<const Edge*> after(std::uint64_t changes,
                                               std::size_t max) const;
  // Edge::changed of the oldest edge that is left; 0 if none had to go.
  [[nodiscard]] std::uint64_t oldest() const;
  [[nodiscard]] std::size_t size() const { return edges_.size(); }

 private:
  const std::size_t max_;
  std::uint64_t changes_ = 0;
  bool full_ = false;      // an edge had to go
  std::list<Edge> edges_;  // the one that was seen last is the first one
  std::unordered_map<std::string, std::list<Edge>::iterator> by_key_;
};

}  // namespace sluice::ui
