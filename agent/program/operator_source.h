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

// The policies from an operator. The operator has the objects; an agent knows
// only the names of those that concern its pods. Holds references to link and
// agent.
class OperatorSource : public instance::PolicySource {
 public:
  // `problem`: why the wanted state is not in force; empty if it is.
  OperatorSource(const OperatorLink& link, const agent::Agent& agent,
                 std::string problem);

  void describe(instance::StatusView& view) const override;
  [[nodiscard]] instance::PolicyListView policy_list() const override;
  // Always empty: only the operator knows the owner of an address.
  [[nodiscard]] std::string name_of(const IpAddress& address) const override;
  // Explains from the wanted state of this node's maps, for ends that are pods
  // of this node. A near miss is a rule of the pod's policies that would give
  // another verdict for another port or another peer.
  [[nodiscard]] Result<instance::ExplainView> explain(
      const instance::ExplainRequest& request) const override;

 private:
  const OperatorLink* link_;
  const agent::Agent* agent_;
  std::string problem_;
};

}  // namespace sluice::agentd
