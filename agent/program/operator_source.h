// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/agent.h"
#include "agent/instance/policy_source.h"

namespace sluice::agentd {

// The connection to the operator.
struct OperatorLink {
  std::string address;
  bool connected = false;
  std::string problem;  // why it is not connected
};

// What an operator's policies have become on this node. The operator has the
// objects; an agent knows those that concern its pods, by name. Refers to link
// and agent.
class OperatorSource : public instance::PolicySource {
 public:
  // `problem`: why what is wanted is not in force; empty if it is.
  OperatorSource(const OperatorLink& link, const agent::Agent& agent,
                 std::string problem);

  void describe(instance::StatusView& view) const override;
  [[nodiscard]] instance::PolicyListView policy_list() const override;
  // Of nobody: addresses come with objects.
  [[nodiscard]] std::string name_of(const IpAddress& address) const override;
  // From what is wanted of this node's maps: the ends that are pods of this
  // node. A near miss is a rule of the pod's policies that would say otherwise
  // for another port or another peer.
  [[nodiscard]] Result<instance::ExplainView> explain(
      const instance::ExplainRequest& request) const override;

 private:
  const OperatorLink* link_;
  const agent::Agent* agent_;
  std::string problem_;
};

}  // namespace sluice::agentd
