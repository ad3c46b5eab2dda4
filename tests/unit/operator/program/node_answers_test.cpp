// SPDX-License-Identifier: Apache-2.0
#include "operator/program/node_answers.h"

#include <map>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

// What agents say, which may be anything, as answers for people.
namespace sluice::operatord {
namespace {

using flow::NodeQuery;
using flow::NodeState;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kGood = R"({"enforced": true, "node": "good"})";

class NodeAnswers : public ::testing::Test {
 protected:
  NodeAnswers() { says("good", {kGood}); }

  void says(const std::string& node, std::vector<std::string> messages) {
    nodes_.nodes[node] = {.state = NodeState::kConnected};
    nodes_.messages[node] = std::move(messages);
  }
  void fails(const std::string& node, NodeQuery::Failure failure) {
    nodes_.nodes[node] = {.state = NodeState::kConnected};
    nodes_.failures[node] = std::move(failure);
  }
  [[nodiscard]] json status() const {
    return json::parse(status_text(nodes_, facts_, "1", "o"));
  }
  // Of each node why it does not enforce.
  [[nodiscard]] std::map<std::string, std::string> why_not() const {
    std::map<std::string, std::string> result;
    const auto answer = status();
    for (const auto& row : answer["nodes"]) {
      result[row["node"]] = row["why_not"];
    }
    return result;
  }

  NodeQuery::Answers nodes_;
  PolicyFacts facts_;
};

TEST_F(NodeAnswers, what_is_nested_too_deeply_costs_only_that_node) {
  says("deep", {R"({"enforced": true, "x": )" + std::string(100'000, '[') +
                std::string(100'000, ']') + "}"});
  const auto answer = status();
  ASSERT_EQ(answer["nodes"].size(), 2);
  EXPECT_EQ(answer["nodes"][0]["node"], "deep");
  EXPECT_NE(answer["nodes"][0]["problem"], "");
  EXPECT_EQ(answer["nodes"][0]["status"], json::object());
  EXPECT_EQ(answer["nodes"][1]["status"], json::parse(kGood));
  const auto endpoints = json::parse(endpoints_text(nodes_));
  ASSERT_EQ(endpoints["endpoints"].size(), 1);
  EXPECT_EQ(endpoints["endpoints"][0]["node"], "good");
}

TEST_F(NodeAnswers, wrong_types_cost_only_that_node) {
  says("types", {R"({"enforced": "yes", "problem": 7, "node": []})"});
  says("list", {"[]"});
  says("text", {"no JSON"});
  says("several", {kGood, kGood});
  const auto why = why_not();
  EXPECT_EQ(why.at("good"), "");
  for (const char* node : {"types", "list", "text", "several"}) {
    EXPECT_NE(why.at(node), "") << node;
  }
}

TEST_F(NodeAnswers, an_empty_answer_to_the_status_is_none) {
  says("empty", {});
  EXPECT_EQ(why_not().at("empty"), "its agent's answer is empty");
  EXPECT_EQ(status()["nodes"][0]["problem"], "its agent's answer is empty");
  // A node may have no pods.
  const auto endpoints = json::parse(endpoints_text(nodes_));
  EXPECT_EQ(endpoints["nodes"][0]["problem"], "");
}

TEST_F(NodeAnswers, why_there_is_no_answer_is_said) {
  using Kind = NodeQuery::Failure::Kind;
  fails("refused", {.kind = Kind::kRefused, .text = "busy\x1b[2J"});
  fails("long", {.kind = Kind::kRefused, .text = std::string(9'000, 'x')});
  fails("large", {.kind = Kind::kTooLarge, .text = {}});
  fails("gone", {.kind = Kind::kGone, .text = {}});
  nodes_.nodes["slow"] = {.state = NodeState::kConnected};
  nodes_.nodes["away"] = {.state = NodeState::kAway};
  auto why = why_not();
  EXPECT_EQ(why["refused"],
            "the request to its agent was refused: busy\\x1b[2J");
  EXPECT_LT(why["long"].size(), 300);
  EXPECT_EQ(why["large"], "its agent's answer is too large");
  EXPECT_EQ(why["gone"], "its agent was lost before it answered");
  EXPECT_EQ(why["slow"], "its agent has not answered in time");
  EXPECT_EQ(why["away"], "its agent is not connected");
}

TEST_F(NodeAnswers, a_policy_is_in_force_if_it_is_on_all_nodes_with_its_pods) {
  says("bad", {R"({"enforced": false, "problem": "the map is full"})"});
  says("half", {R"({"enforced": true, "endpoints_problem": "x/a: none"})"});
  const PolicyFact fact{
      .key = {.kind = "NetworkPolicy", .ns = "x", .name = "p"},
      .valid = true,
      .in_force = true,
      .nodes = {"good"}};
  facts_.policies = {fact};
  const auto policy = [&] {
    return json::parse(policies_text(nodes_, facts_))["policies"][0];
  };
  EXPECT_EQ(policy()["in_force"], true);
  for (const auto& [node, why] : {std::pair{"bad", "the map is full"},
                                  {"half", "x/a: none"},
                                  {"unknown", "there is no such node"}}) {
    facts_.policies[0].nodes = {"good", node};
    EXPECT_EQ(policy()["in_force"], false);
    EXPECT_THAT(policy()["reason"].get<std::string>(), HasSubstr(why));
  }
}

TEST_F(NodeAnswers, the_status_counts_policies_and_lists_problems) {
  facts_.policies = {
      {.key = {.kind = "K", .ns = "x", .name = "a"}, .valid = true},
      {.key = {.kind = "K", .ns = "x", .name = "b"}}};
  facts_.problems = {{.object = "K x/b", .source = "s", .message = "m"}};
  const auto answer = status();
  EXPECT_EQ(answer["policies"], 2);
  EXPECT_EQ(answer["policies_invalid"], 1);
  ASSERT_EQ(answer["problems"].size(), 1);
  EXPECT_EQ(answer["problems"][0]["object"], "K x/b");
}

}  // namespace
}  // namespace sluice::operatord
