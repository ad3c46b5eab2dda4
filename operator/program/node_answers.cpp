// SPDX-License-Identifier: Apache-2.0
#include "operator/program/node_answers.h"

#include <cstddef>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "lib/ui/subjects.h"
#include "lib/ui/views_json.h"

namespace sluice::operatord {
namespace {

using nlohmann::json;
using Messages = std::vector<std::string>;

// The agent's own words, or why there are none.
std::string problem_of(const flow::NodeQuery::Answers& answers,
                       const std::string& node, flow::NodeState state) {
  switch (state) {
    case flow::NodeState::kAway:
      return "its agent is not connected";
    case flow::NodeState::kTooOld:
      return "its agent is of a version that does not answer";
    case flow::NodeState::kGone:
      return "the node is gone";
    case flow::NodeState::kConnected:
      break;
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
      problem = "its agent is of a version that does not answer";
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

// Why each node does not enforce its policies; an empty text if it does.
std::map<std::string, std::string> shortfalls(const json& statuses) {
  std::map<std::string, std::string> result;
  for (const auto& row : statuses) {
    const auto& status = row.at("status");
    auto problem = row.at("problem").get<std::string>();
    if (problem.empty() && !is_enforced(status)) {
      problem = text_in(status, "problem");
      problem = problem.empty() ? "its policies are not in force" : problem;
    }
    if (problem.empty()) {
      problem = text_in(status, "endpoints_problem");
    }
    result[row.at("node").get<std::string>()] = std::move(problem);
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

json problem_row(const op::ObjectKey& key, const std::string& source,
                 const std::string& why) {
  return {{"severity", "error"},
          {"source", source},
          {"object", to_string(key)},
          {"message", why}};
}

// How many policies there are, how many of them are invalid, and the objects
// that cannot be used.
json policy_counts(const op::ClusterStore& store) {
  std::size_t policies = 0;
  std::size_t invalid = 0;
  auto problems = json::array();
  for (const auto& [key, object] : store.policies()) {
    if (!op::is_group(key)) {
      ++policies;
      invalid += object.valid ? 0 : 1;
    }
    if (!object.valid) {
      problems.push_back(
          problem_row(key, "generation " + std::to_string(object.generation),
                      object.reason));
    }
  }
  for (const auto& [key, why] : store.undecodable()) {
    problems.push_back(problem_row(key, "API server", why));
  }
  return {{"policies", policies},
          {"policies_invalid", invalid},
          {"problems", std::move(problems)}};
}

json node_statuses(const flow::NodeQuery::Answers& answers) {
  auto nodes = json::array();
  for_each_node(answers, [&](const std::string& node,
                             const std::string& problem, json rows) {
    nodes.push_back(
        {{"node", node},
         {"problem", problem},
         {"status", rows.empty() ? json::object() : std::move(rows.front())}});
  });
  return nodes;
}

// Why the policy is not in force on nodes with pods that it selects.
std::map<std::string, std::string> missing_on(
    const policy::Translator& translator, const policy::PolicyKey& policy,
    const std::map<std::string, std::string>& short_of) {
  std::map<std::string, std::string> missing;
  translator.visit_subjects(policy, [&](const kube::Pod& pod) {
    const auto found = short_of.find(pod.node);
    if (found == short_of.end()) {
      missing.emplace(pod.node, "there is no such node");
    } else if (!found->second.empty()) {
      missing.insert(*found);
    }
  });
  return missing;
}

json policy_row(const op::PolicyObject& object, const std::string& shortfall,
                const std::map<std::string, std::string>& missing,
                const std::vector<std::string>& warnings) {
  auto reason = object.reason;
  add_reason(reason, object.isolation);
  if (object.in_force && !object.valid) {
    add_reason(reason, "generation " +
                           std::to_string(object.in_force_generation) +
                           " stays in force");
  }
  add_reason(reason, shortfall);
  if (object.in_force && !missing.empty()) {
    add_reason(reason, say(missing));
  }
  return {{"kind", object.key.kind},
          {"namespace", object.key.ns},
          {"name", object.key.name},
          {"valid", object.valid},
          {"in_force", object.in_force && shortfall.empty() && missing.empty()},
          {"source", "generation " + std::to_string(object.generation)},
          {"reason", std::move(reason)},
          {"warnings", warnings}};
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
                        const op::ClusterStore& store,
                        const std::string& version,
                        const std::string& identity) {
  auto answer = policy_counts(store);
  answer["version"] = version;
  answer["operator"] = identity;
  answer["nodes"] = node_statuses(nodes);
  return to_text(answer);
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
                          const op::ClusterStore& store,
                          const policy::Translator& translator,
                          const PolicyStatus& status) {
  auto statuses = node_statuses(nodes);
  const auto short_of = shortfalls(statuses);
  auto policies = json::array();
  for (const auto& [key, object] : store.policies()) {
    if (op::is_group(key)) {
      continue;
    }
    const policy::PolicyKey name{
        .kind = key.kind, .ns = key.ns, .name = key.name};
    policies.push_back(policy_row(object, translator.shortfall(name),
                                  missing_on(translator, name, short_of),
                                  status.warnings(name)));
  }
  return to_text({{"policies", std::move(policies)},
                  {"problems", policy_counts(store)["problems"]},
                  {"nodes", std::move(statuses)}});
}

std::string page_policies_text(const flow::NodeQuery::Answers& nodes,
                               const op::ClusterStore& store,
                               const policy::Translator& translator,
                               const PolicyStatus& status) {
  const auto short_of = shortfalls(node_statuses(nodes));
  std::string shortfall;  // of the policy in question
  ui::SubjectFinder finder(translator, [&](const std::string& node) {
    const auto found = short_of.find(node);
    const auto problem =
        found == short_of.end() ? "there is no such node" : found->second;
    return std::optional(problem.empty() ? shortfall : problem);
  });
  auto policies = json::array();
  for (const auto& [key, object] : store.policies()) {
    if (op::is_group(key)) {
      continue;
    }
    const policy::PolicyKey name{
        .kind = key.kind, .ns = key.ns, .name = key.name};
    shortfall = translator.shortfall(name);
    ui::PolicyView view{.kind = key.kind, .ns = key.ns, .name = key.name};
    finder.find(view);
    json row = view;
    row.update(policy_row(object, shortfall,
                          missing_on(translator, name, short_of),
                          status.warnings(name)));
    policies.push_back(std::move(row));
  }
  return to_text({{"policies", std::move(policies)}});
}

}  // namespace sluice::operatord
