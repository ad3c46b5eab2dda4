// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "agent/node/names.h"
#include "agent/node/views.h"
#include "lib/base/result.h"
#include "lib/explain/text.h"
#include "lib/policy/model.h"
#include "lib/policy/near_miss.h"
#include "sluice/state.h"

namespace sluice::agentd {

// Explains from the wanted state of a node's maps whether a packet passes, and
// why, for those of its ends that are pods of the node. Holds a reference to
// the state.
class NodeExplainer {
 public:
  // What an endpoint knows of the names of an address.
  struct Learned {
    std::vector<std::uint32_t> selectors;  // for which it is learned now
    std::vector<std::string> names;
  };
  using LearnedOf = std::function<Learned(const std::string& endpoint,
                                          const IpAddress& address)>;
  // `learned_of`: nothing is learned if it is empty.
  NodeExplainer(const State& state, explain::PortArgument port,
                LearnedOf learned_of = {});

  // `from` and `to`: "namespace/pod" of this node, or an address.
  [[nodiscard]] Result<node::ExplainView> explain(const std::string& from,
                                                  const std::string& to) const;

  // Replaces what an operator says of this node's pods by what the node's state
  // says of them. They differ while the node lags behind.
  [[nodiscard]] node::ExplainView judge(node::ExplainView view) const;
  // True if the side is that of a pod of this node.
  [[nodiscard]] bool is_own(const node::SideView& side) const;

 private:
  struct End;
  [[nodiscard]] Result<End> find_end(const std::string& text,
                                     const char* option) const;
  void describe(node::SideView& view, const EndpointEntry& endpoint,
                policy::Direction direction, const IpAddress& peer,
                std::uint16_t port) const;
  void add_set(node::SideView& view, const EndpointEntry& endpoint,
               policy::Direction direction) const;
  void add_near_misses(node::SideView& view, const EndpointEntry& endpoint,
                       const policy::Model::Verdict& verdict,
                       const policy::Packet& packet) const;

  const State* state_;
  LearnedOf learned_of_;
  explain::PortArgument port_;
  node::Names names_;
  policy::Model model_;
};

}  // namespace sluice::agentd
