// SPDX-License-Identifier: Apache-2.0
#include "cli/operator_views.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include <nlohmann/json.hpp>

#include "agent/node/command_line.h"
#include "agent/node/views_json.h"
#include "cli/ask_operator.h"
#include "cli/show.h"
#include "cli/tables.h"
#include "lib/base/printable.h"

namespace sluice::cli {

using nlohmann::json;

// What an agent says, which may be anything, does not hide the other nodes.
void from_json(const json& in, NodeAnswerView& view) {
  view = {.node = in.value("node", ""),
          .problem = in.value("problem", ""),
          .why_not = in.value("why_not",
                              "the operator does not say whether its policies "
                              "are in force"),
          .status = {}};
  try {
    view.status = in.value("status", node::StatusView{});
  } catch (const json::exception&) {
    view.problem = "its agent's answer cannot be read";
    view.why_not = view.problem;
  }
}

void from_json(const json& in, ClusterStatusView& view) {
  view = {.version = in.value("version", ""),
          .identity = in.value("operator", ""),
          .nodes = in.value("nodes", std::vector<NodeAnswerView>{}),
          .policies = in.value("policies", std::uint64_t{0}),
          .policies_invalid = in.value("policies_invalid", std::uint64_t{0}),
          .problems = in.value("problems", std::vector<node::ProblemView>{})};
}

void from_json(const json& in, ClusterEndpointView& view) {
  view = {.node = in.value("node", ""), .endpoint = {}};
  try {
    view.endpoint = in.get<node::EndpointView>();
  } catch (const json::exception&) {
    view.endpoint.problem = "its agent's answer cannot be read";
  }
}

void from_json(const json& in, ClusterEndpointListView& view) {
  view = {
      .nodes = in.value("nodes", std::vector<NodeAnswerView>{}),
      .endpoints = in.value("endpoints", std::vector<ClusterEndpointView>{})};
}

namespace {

struct ClusterPolicyListView {
  std::vector<NodeAnswerView> nodes;
  node::PolicyListView list;
};

void from_json(const json& in, ClusterPolicyListView& view) {
  view = {.nodes = in.value("nodes", std::vector<NodeAnswerView>{}),
          .list = in.get<node::PolicyListView>()};
}

void print(std::ostream& out, const ClusterPolicyListView& view) {
  cli::print(out, view.list);
}

bool enforces(const NodeAnswerView& node) {
  return node.why_not.empty();
}

void note_missing(const std::vector<NodeAnswerView>& nodes) {
  for (const auto& node : nodes) {
    if (!node.problem.empty()) {
      std::cerr << "note: nothing is known of node " << printable(node.node)
                << ": " << printable(node.problem) << '\n';
    }
  }
}

// JSON is shown as the operator has sent it: it may be newer than this program.
template <typename View>
Result<View> show_answer(const OperatorAccess& access, std::string_view path,
                         Format format) {
  const auto text = ask_operator(access, path);
  if (!text) {
    return std::unexpected(text.error());
  }
  try {
    const auto answer = json::parse(*text);
    auto view = answer.get<View>();
    if (format == Format::kJson) {
      std::cout << node::dump(answer, 2) << '\n';
    } else {
      print(std::cout, view);
    }
    return view;
  } catch (const json::exception& error) {
    return fail(std::string("the operator's answer: ") + error.what());
  }
}

}  // namespace

bool enforced(const ClusterStatusView& view) {
  return !view.nodes.empty() && std::ranges::all_of(view.nodes, enforces);
}

void print(std::ostream& out, const ClusterStatusView& view) {
  const auto in_force = std::ranges::count_if(view.nodes, enforces);
  out << "operator     " << printable(view.identity) << ", version "
      << printable(view.version) << '\n'
      << "enforced     " << (enforced(view) ? "yes" : "no") << ", on "
      << in_force << " of " << view.nodes.size() << " nodes\n"
      << "policies     " << view.policies;
  if (view.policies_invalid > 0) {
    out << ", " << view.policies_invalid << " not valid";
  }
  out << "\n\n";
  Table table({"NODE", "ENFORCED", "VERSION", "REVISION", "ENDPOINTS",
               "EVENTS LOST", "WHY NOT"});
  for (const auto& node : view.nodes) {
    const auto& status = node.status;
    if (!node.problem.empty()) {
      table.row({node.node, "unknown", "-", "-", "-", "-", node.problem});
      continue;
    }
    table.row({node.node, enforces(node) ? "yes" : "no", status.version,
               std::to_string(status.revision),
               std::to_string(status.endpoints_attached) + "/" +
                   std::to_string(status.endpoints),
               std::to_string(status.events_lost),
               enforces(node) ? "-" : node.why_not});
  }
  table.print(out);
  if (!view.problems.empty()) {
    out << '\n';
    print(out, view.problems);
  }
}

void print(std::ostream& out, const ClusterEndpointListView& view) {
  std::vector<std::string> nodes;
  node::EndpointListView list;
  for (const auto& endpoint : view.endpoints) {
    nodes.push_back(endpoint.node);
    list.endpoints.push_back(endpoint.endpoint);
  }
  print(out, list, nodes);
}

int show_cluster_status(const OperatorAccess& access, Format format,
                        bool check) {
  const auto view = show_answer<ClusterStatusView>(access, "/status", format);
  if (!view) {
    return node::complain(view.error().message);
  }
  return check && !enforced(*view) ? node::kExitNegative : node::kExitOk;
}

int show_cluster_endpoints(const OperatorAccess& access, Format format) {
  const auto view =
      show_answer<ClusterEndpointListView>(access, "/endpoints", format);
  if (!view) {
    return node::complain(view.error().message);
  }
  note_missing(view->nodes);
  return node::kExitOk;
}

int show_cluster_policies(const OperatorAccess& access, Format format) {
  const auto view =
      show_answer<ClusterPolicyListView>(access, "/policies", format);
  if (!view) {
    return node::complain(view.error().message);
  }
  note_missing(view->nodes);
  return node::kExitOk;
}

}  // namespace sluice::cli
