// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/node/policy_info.h"
#include "agent/node/runtime.h"

namespace sluice::agentd {

// The connection to the operator.
struct OperatorLink {
  std::string address;
  bool connected = false;
  std::string problem;  // why it is not connected
};

// What the operator has said to a question.
struct Heard {
  std::optional<node::ExplainView> view;
  std::unordered_map<IpAddress, std::string> names;
  // By policy, "Kind/namespace/name".
  std::map<std::string, std::vector<std::string>> warnings;
  std::string problem;  // why it has not said it; or empty
};

// The policies from an operator. The operator has the objects; an agent knows
// only the names of those that concern its pods. Holds references to link,
// runtime and `heard`.
class OperatorPolicies : public node::PolicyInfo {
 public:
  OperatorPolicies(const OperatorLink& link, const node::Runtime& runtime,
                   const Heard& heard)
      : link_(&link), runtime_(&runtime), heard_(&heard) {}

  void describe(node::StatusView& view) const override;
  // Policies that apply to pods of this node, with the warnings that the
  // operator has told.
  [[nodiscard]] node::PolicyListView policy_list() const override;
  // The node's own pods, and what the operator has said.
  [[nodiscard]] std::string name_of(const IpAddress& address) const override;
  [[nodiscard]] std::string names_problem() const override;
  // Explains from the wanted state of this node's maps, for ends that are pods
  // of this node. Other ends are as the operator has explained them.
  [[nodiscard]] Result<node::ExplainView> explain(
      const node::ExplainRequest& request) const override;
  // An agent knows what the policies of its own pods say, and of no others.
  [[nodiscard]] Result<std::vector<node::ExplainView>> explain_all_ports(
      const node::ExplainRequest& request) const override;
  [[nodiscard]] Result<explain::ReachView> reach(
      const explain::ReachRequest& request) const override;

 private:
  const OperatorLink* link_;
  const node::Runtime* runtime_;
  const Heard* heard_;
};

}  // namespace sluice::agentd
