// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "agent/node/views.h"
#include "cli/operator_options.h"
#include "cli/output.h"

// What an operator says of its cluster. Member names are the field names of the
// JSON, which operator/program/node_answers.h makes.
namespace sluice::cli {

// A node whose agent has answered, or has not, and why. The operator decides
// whether it enforces its policies: see its node_answers.h.
struct NodeAnswerView {
  std::string node;
  std::string problem;
  std::string why_not;      // it does not enforce its policies
  node::StatusView status;  // if it was asked for
};

struct ClusterStatusView {
  std::string version;   // of the operator
  std::string identity;  // of the replica that has answered; JSON: "operator"
  std::vector<NodeAnswerView> nodes;
  std::uint64_t policies = 0;
  std::uint64_t policies_invalid = 0;
  std::vector<node::ProblemView> problems;
};
// True if every node enforces its policies.
bool enforced(const ClusterStatusView& view);

struct ClusterEndpointView {
  std::string node;
  node::EndpointView endpoint;
};
struct ClusterEndpointListView {
  std::vector<NodeAnswerView> nodes;
  std::vector<ClusterEndpointView> endpoints;
};

// Throw what the JSON library throws if a member has the wrong type.
void from_json(const nlohmann::json& in, NodeAnswerView& view);
void from_json(const nlohmann::json& in, ClusterStatusView& view);
void from_json(const nlohmann::json& in, ClusterEndpointView& view);
void from_json(const nlohmann::json& in, ClusterEndpointListView& view);

void print(std::ostream& out, const ClusterStatusView& view);
void print(std::ostream& out, const ClusterEndpointListView& view);

// Ask the operator, show the answer, and say on the error stream which nodes
// have not answered. Return the exit status. `check`: 1 if not all is enforced.
int show_cluster_status(const OperatorAccess& access, Format format,
                        bool check);
int show_cluster_endpoints(const OperatorAccess& access, Format format);
int show_cluster_policies(const OperatorAccess& access, Format format);

}  // namespace sluice::cli
