// SPDX-License-Identifier: Apache-2.0
#include "agent/program/operator_policies.h"

#include <algorithm>
#include <map>
#include <utility>

#include "agent/node/policy_name.h"
#include "agent/node/resolved.h"
#include "agent/program/node_explainer.h"
#include "lib/explain/text.h"

namespace sluice::agentd {
namespace {

// "Kind/namespace/name" of every policy that this node has received, and why
// the pods that it selects are isolated instead.
std::map<std::string, std::string> policies_of(const agent::Agent& agent) {
  std::map<std::string, std::string> result;
  for (const auto& set : agent.wanted().sets) {
    for (const auto& policy : set.policies) {
      auto& problem = result[policy];
      if (problem.empty() && !set.problem.empty()) {
        problem = "pods of it are isolated: " + set.problem;
      }
    }
  }
  return result;
}

}  // namespace

void OperatorPolicies::describe(node::StatusView& view) const {
  view.source = "operator " + link_->address;
  view.policies = policies_of(runtime_->agent()).size();
  view.objects = view.policies;
  if (!link_->connected) {
    view.problems.push_back({.severity = "note",
                             .source = "operator",
                             .object = {},
                             .message = "not connected: " + link_->problem +
                                        "; its last state stays in force"});
  }
}

node::PolicyListView OperatorPolicies::policy_list() const {
  const auto not_in_force = runtime_->problem();
  node::PolicyListView list;
  for (const auto& [policy, problem] : policies_of(runtime_->agent())) {
    auto name = node::policy_name(policy);
    node::PolicyView view;
    view.kind = std::move(name.kind);
    view.ns = std::move(name.ns);
    view.name = std::move(name.name);
    view.valid = true;
    view.in_force = not_in_force.empty();
    view.reason = not_in_force.empty() ? problem : not_in_force;
    view.source = link_->address;
    if (const auto found = heard_->warnings.find(policy);
        found != heard_->warnings.end()) {
      view.warnings = found->second;
    }
    list.policies.push_back(std::move(view));
  }
  if (!heard_->problem.empty()) {
    list.problems.push_back(
        {.severity = "note",
         .source = "operator",
         .object = {},
         .message = "warnings are missing: " + heard_->problem});
  }
  return list;
}

std::string OperatorPolicies::name_of(const IpAddress& address) const {
  if (const auto found = heard_->names.find(address);
      found != heard_->names.end() && !found->second.empty()) {
    return found->second;
  }
  return runtime_->pod_of(address);
}

std::string OperatorPolicies::names_problem() const {
  return heard_->problem;
}

Result<std::vector<node::ExplainView>> OperatorPolicies::explain_all_ports(
    const node::ExplainRequest& /*request*/) const {
  return fail(
      "--port: an agent explains one port; `sluice explain --operator` explains "
      "all that make a difference");
}

Result<explain::ReachView> OperatorPolicies::reach(
    const explain::ReachRequest& /*request*/) const {
  return fail(
      "an agent has the policies of its own node's pods only; give the "
      "cluster's objects instead: kubectl get "
      "ns,nodes,pods,svc,endpointslices,netpol -A -o yaml | sluice reach -");
}

Result<node::ExplainView> OperatorPolicies::explain(
    const node::ExplainRequest& request) const {
  // The operator has found out what a port's name means.
  const auto port =
      explain::parse_port(heard_->view ? heard_->view->port : request.port);
  if (!port) {
    return std::unexpected(port.error());
  }
  const State state = runtime_->agent().view();
  const auto& agent = runtime_->agent();
  const NodeExplainer explainer(
      state, *port,
      [&agent](const std::string& endpoint, const IpAddress& address) {
        const auto ifindex = agent.ifindex_of(endpoint);
        return NodeExplainer::Learned{
            .selectors = agent.learning().selectors(ifindex, address),
            .names = node::names_of(agent, ifindex, address)};
      });
  const auto& problem = heard_->problem;
  const auto not_in_force = runtime_->problem();
  auto view = heard_->view
                  ? Result<node::ExplainView>(explainer.judge(*heard_->view))
                  : explainer.explain(request.from, request.to);
  if (!view) {
    return problem.empty() ? std::move(view)
                           : fail(view.error().message + " (" + problem + ")");
  }
  for (auto& side : view->sides) {
    if (!side.unknown.empty() && !problem.empty()) {
      side.unknown += ": " + problem;
    }
    if (!not_in_force.empty() && explainer.is_own(side)) {
      side.reason += " (not in force: " + not_in_force + ")";
    }
  }
  return view;
}

}  // namespace sluice::agentd
