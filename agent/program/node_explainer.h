// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/instance/names.h"
#include "agent/instance/text.h"
#include "agent/instance/views.h"
#include "lib/base/result.h"
#include "lib/policy/model.h"
#include "sluice/state.h"

namespace sluice::agentd {

// Explains from the wanted state of a node's maps whether a packet passes, and
// why, for those of its ends that are pods of the node. Holds a reference to
// the state.
class NodeExplainer {
 public:
  NodeExplainer(const State& state, instance::PortArgument port);

  // `from` and `to`: "namespace/pod" of this node, or an address.
  [[nodiscard]] Result<instance::ExplainView> explain(
      const std::string& from, const std::string& to) const;

 private:
  struct End;
  [[nodiscard]] Result<End> find_end(const std::string& text,
                                     const char* option) const;
  void describe(instance::SideView& view, const EndpointEntry& endpoint,
                policy::Direction direction, const IpAddress& peer) const;
  void add_set(instance::SideView& view, const EndpointEntry& endpoint,
               policy::Direction direction) const;
  void add_near_misses(instance::SideView& view, const EndpointEntry& endpoint,
                       policy::Direction direction,
                       std::uint32_t peer_class) const;

  const State* state_;
  instance::PortArgument port_;
  instance::Names names_;
  policy::Model model_;
};

}  // namespace sluice::agentd
