// SPDX-License-Identifier: Apache-2.0
#include "operator/program/node_answers.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "lib/base/printable.h"
#include "lib/ui/views_json.h"

namespace sluice::operatord {
namespace {

using nlohmann::json;
using Messages = std::vector<std::string>;

// Of the text of a refusal, by the agent or by a replica on the way to it. It
// may be anything.
constexpr std::size_t kRefusalMax = 200;
constexpr const char* kUnknownAnswer =
    "its agent is of a version that does not answer";

std::string refusal_of(const std::string& text) {
  return text.empty() ? "the request to its agent was refused"
                      : "the request to its agent was refused: " +
                            printable(text.substr(0, kRefusalMax));
}

std::string problem_of(const flow::NodeQuery::Failure& failure) {
  using Kind = flow::NodeQuery::Failure::Kind;
  switch (failure.kind) {
    case Kind::kRefused:
      return refusal_of(failure.text);
    case Kind::kTooLarge:
      return "its agent's answer is too large";
    case Kind::kGone:
      break;
  }
  return "its agent was lost before it answered";
}

// Why there is no answer; empty if there is one.
std::string problem_of(const flow::NodeQuery::Answers& answers,
                       const std::string& node, flow::NodeState state) {
  switch (state) {
    case flow::NodeState::kAway:
      return "its agent is not connected";
    case flow::NodeState::kTooOld:
      return kUnknownAnswer;
    case flow::NodeState::kGone:
      return "the node is gone";
    case flow::NodeState::kConnected:
      break;
  }
  if (const auto found = answers.failures.find(node);
      found != answers.failures.end()) {
    return problem_of(found->second);
  }
  return answers.messages.contains(node) ? std::string{}
                                         : "its agent has not answered in time";
}

// Of an agent's JSON, which is rendered by recursion; an honest one needs four.
constexpr int kDepthMax = 16;

// Discarded if it is no JSON or too deep.
json parse_one(const std::string& message) {
  bool deep = false;
  auto parsed = json::parse(
      message,
      [&](int depth, json::parse_event_t /*event*/, json& /*value*/) {
        deep = deep || depth > kDepthMax;
        return !deep;
      },
      false);
  return deep ? json(json::value_t::discarded) : parsed;
}

// An agent that does not know the request answers with something else.
struct Parsed {
  json rows = json::array();
  bool valid = true;
};

Parsed parse(const Messages& messages) {
  Parsed parsed;
  for (const auto& message : messages) {
    auto row = parse_one(message);
    if (!row.is_object()) {
      return {.rows = json::array(), .valid = false};
    }
    parsed.rows.push_back(std::move(row));
  }
  return parsed;
}

// Calls `take` with each node, why it has not answered or an empty text, and
// its rows.
template <typename Take>
void for_each_node(const flow::NodeQuery::Answers& answers, Take take) {
  for (const auto& [node, view] : answers.nodes) {
    auto problem = problem_of(answers, node, view.state);
    Parsed parsed;
    if (problem.empty()) {
      parsed = parse(answers.messages.at(node));
    }
    if (!parsed.valid) {
      problem = kUnknownAnswer;
    }
    take(node, problem, std::move(parsed.rows));
  }
}

// An agent may have sent anything: a member of another type counts as missing.
std::string text_in(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>()
                                                     : std::string{};
}

bool is_enforced(const json& status) {
  const auto found = status.find("enforced");
  return found != status.end() && found->is_boolean() && found->get<bool>();
}

// Why a node that has said this does not enforce its policies; an empty text if
// it does.
std::string why_not(const json& status) {
  if (is_enforced(status)) {
    return text_in(status, "endpoints_problem");
  }
  auto problem = text_in(status, "problem");
  return problem.empty() ? "its policies are not in force" : problem;
}

NodeShortfalls shortfalls(const json& statuses) {
  NodeShortfalls result;
  for (const auto& row : statuses) {
    result[row.at("node").get<std::string>()] =
        row.at("why_not").get<std::string>();
  }
  return result;
}

std::string say(const std::map<std::string, std::string>& missing) {
  const auto& [node, why] = *missing.begin();
  auto text = "not in force on " + node + ": " + why;
  if (missing.size() > 1) {
    text += " (and " + std::to_string(missing.size() - 1) + " more nodes)";
  }
  return text;
}

void add_reason(std::string& reason, const std::string& more) {
  if (!more.empty()) {
    reason += (reason.empty() ? "" : "; ") + more;
  }
}

json problem_rows(const PolicyFacts& facts) {
  auto rows = json::array();
  for (const auto& problem : facts.problems) {
    rows.push_back({{"severity", "error"},
                    {"source", problem.source},
                    {"object", problem.object},
                    {"message", problem.message}});
  }
  return rows;
}

// The answer to the request for the status is one row.
json node_statuses(const flow::NodeQuery::Answers& answers) {
  auto nodes = json::array();
  for_each_node(answers, [&](const std::string& node, std::string problem,
                             json rows) {
    auto status = json::object();
    if (problem.empty() && rows.size() != 1) {
      problem = rows.empty() ? "its agent's answer is empty" : kUnknownAnswer;
    } else if (problem.empty()) {
      status = std::move(rows.front());
    }
    auto why = problem.empty() ? why_not(status) : problem;
    nodes.push_back({{"node", node},
                     {"problem", std::move(problem)},
                     {"why_not", std::move(why)},
                     {"status", std::move(status)}});
  });
  return nodes;
}

// Why the policy is not in force on nodes with pods that it selects.
std::map<std::string, std::string> missing_on(const PolicyFact& policy,
                                              const NodeShortfalls& short_of) {
  std::map<std::string, std::string> missing;
  for (const auto& node : policy.nodes) {
    const auto found = short_of.find(node);
    if (found == short_of.end()) {
      missing.emplace(node, "there is no such node");
    } else if (!found->second.empty()) {
      missing.insert(*found);
    }
  }
  return missing;
}

json policy_row(const PolicyFact& object,
                const std::map<std::string, std::string>& missing) {
  auto reason = object.reason;
  add_reason(reason, object.isolation);
  if (object.in_force && !object.valid) {
    add_reason(reason, "generation " +
                           std::to_string(object.in_force_generation) +
                           " stays in force");
  }
  add_reason(reason, object.shortfall);
  if (object.in_force && !missing.empty()) {
    add_reason(reason, say(missing));
  }
  return {{"kind", object.key.kind},
          {"namespace", object.key.ns},
          {"name", object.key.name},
          {"valid", object.valid},
          {"in_force",
           object.in_force && object.shortfall.empty() && missing.empty()},
          {"source", "generation " + std::to_string(object.generation)},
          {"reason", std::move(reason)},
          {"warnings", object.warnings}};
}

// Bytes that are no UTF-8 are replaced.
std::string to_text(const json& answer) {
  return answer.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string node_status_request() {
  return json{{"command", "status"}}.dump();
}

std::string node_endpoints_request() {
  return json{{"command", "endpoint list"}}.dump();
}

std::string status_text(const flow::NodeQuery::Answers& nodes,
                        const PolicyFacts& facts, const std::string& version,
                        const std::string& identity) {
  const auto invalid = std::ranges::count_if(
      facts.policies, [](const PolicyFact& policy) { return !policy.valid; });
  return to_text({{"version", version},
                  {"operator", identity},
                  {"policies", facts.policies.size()},
                  {"policies_invalid", invalid},
                  {"problems", problem_rows(facts)},
                  {"nodes", node_statuses(nodes)}});
}

std::string endpoints_text(const flow::NodeQuery::Answers& nodes) {
  auto rows_of_nodes = json::array();
  auto endpoints = json::array();
  for_each_node(nodes, [&](const std::string& node, const std::string& problem,
                           json rows) {
    rows_of_nodes.push_back({{"node", node}, {"problem", problem}});
    for (auto& row : rows) {
      row["node"] = node;
      endpoints.push_back(std::move(row));
    }
  });
  return to_text({{"nodes", std::move(rows_of_nodes)},
                  {"endpoints", std::move(endpoints)}});
}

std::string policies_text(const flow::NodeQuery::Answers& nodes,
                          const PolicyFacts& facts) {
  auto statuses = node_statuses(nodes);
  const auto short_of = shortfalls(statuses);
  auto policies = json::array();
  for (const auto& policy : facts.policies) {
    policies.push_back(policy_row(policy, missing_on(policy, short_of)));
  }
  return to_text({{"policies", std::move(policies)},
                  {"problems", problem_rows(facts)},
                  {"nodes", std::move(statuses)}});
}

NodeShortfalls node_shortfalls(const flow::NodeQuery::Answers& nodes) {
  return shortfalls(node_statuses(nodes));
}

std::string page_policies_text(const NodeShortfalls& short_of,
                               const PolicyFacts& facts) {
  auto policies = json::array();
  for (const auto& policy : facts.policies) {
    json row = policy.subjects;
    row.update(policy_row(policy, missing_on(policy, short_of)));
    policies.push_back(std::move(row));
  }
  return to_text({{"policies", std::move(policies)}});
}

}  // namespace sluice::operatord
