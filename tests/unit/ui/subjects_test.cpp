// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/subjects.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/policy/parse.h"
#include "lib/ui/views_json.h"

// What a policy selects, where, and what becomes of it as JSON.
namespace sluice::ui {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

class Subjects : public testing::Test {
 protected:
  void add(const std::string& name, const std::string& app,
           const std::string& node) {
    kube::Pod pod;
    pod.ns = "shop";
    pod.name = name;
    pod.labels = {{"app", app}, {"pod-template-hash", "5f7"}};
    pod.controller = {.kind = "ReplicaSet", .name = app + "-5f7"};
    pod.node = node;
    ++pods_;
    pod.ips = {*parse_ip("10.0." + std::to_string(pods_ / 250) + "." +
                         std::to_string((pods_ % 250) + 1))};
    translator_.set(pod);
  }
  void SetUp() override {
    const auto policy = policy::parse_policy(json::parse(R"({
      "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
      "metadata": {"namespace": "shop", "name": "all"},
      "spec": {"podSelector": {}}})"));
    ASSERT_TRUE(policy) << policy.error().message;
    translator_.set(*policy);
  }
  // n2 is short of it, and of n9 nothing is said.
  PolicyView find() {
    SubjectFinder finder(translator_, [](const std::string& node) {
      return node == "n9"
                 ? std::nullopt
                 : std::optional<std::string>(node == "n2" ? "away" : "");
    });
    PolicyView view{.kind = "NetworkPolicy", .ns = "shop", .name = "all"};
    finder.find(view);
    return view;
  }
  static std::vector<std::string> names(const PolicyView& view) {
    std::vector<std::string> result;
    result.reserve(view.nodes.size());
    for (const auto& node : view.nodes) {
      result.push_back(node.node + ":" + node.problem);
    }
    return result;
  }

  policy::Translator translator_;
  int pods_ = 0;
};

TEST_F(Subjects, NodesThatFallShortAreTheFirst) {
  add("web-5f7-a", "web", "n1");
  add("web-5f7-b", "web", "n2");
  add("web-5f7-c", "web", "n3");
  add("db-5f7-a", "db", "n3");
  add("db-5f7-b", "db", "n9");
  const auto view = find();
  EXPECT_THAT(
      view.subjects,
      ElementsAre(Workload{.ns = "shop", .kind = "Deployment", .name = "db"},
                  Workload{.ns = "shop", .kind = "Deployment", .name = "web"}));
  EXPECT_FALSE(view.more_subjects);
  EXPECT_THAT(names(view), ElementsAre("n2:away", "n1:", "n3:"));
  EXPECT_EQ(view.nodes_in_all, 3U);
  EXPECT_EQ(view.nodes_in_force, 2U);
}

TEST_F(Subjects, OfManyTheFirstOnesAreThereAndAllAreCounted) {
  for (int i = 0; i < 600; ++i) {
    const auto app = "app" + std::to_string(i);
    add(app + "-5f7-a", app, i == 0 ? "n2" : "m" + std::to_string(i));
  }
  const auto view = find();
  EXPECT_EQ(view.subjects.size(), 500U);
  EXPECT_TRUE(view.more_subjects);
  EXPECT_EQ(view.nodes.size(), 100U);
  EXPECT_EQ(view.nodes.front().node, "n2");
  EXPECT_EQ(view.nodes_in_all, 600U);
  EXPECT_EQ(view.nodes_in_force, 599U);
}

TEST_F(Subjects, ManyPoliciesTogetherAreBoundedAndStillCounted) {
  for (int i = 0; i < 500; ++i) {
    const auto app = "app" + std::to_string(i);
    add(app + "-5f7-a", app, "m" + std::to_string(i % 100));
  }
  SubjectFinder finder(translator_, [](const std::string& /*node*/) {
    return std::optional<std::string>("");
  });
  std::size_t subjects = 0;
  std::size_t nodes = 0;
  PolicyView view;
  for (int i = 0; i < 600; ++i) {
    view = {.kind = "NetworkPolicy", .ns = "shop", .name = "all"};
    finder.find(view);
    subjects += view.subjects.size();
    nodes += view.nodes.size();
  }
  EXPECT_EQ(subjects, 50'000U);
  EXPECT_EQ(nodes, 50'000U);
  EXPECT_THAT(view.subjects, IsEmpty());
  EXPECT_TRUE(view.more_subjects);
  EXPECT_THAT(view.nodes, IsEmpty());
  EXPECT_EQ(view.nodes_in_force, 100U);
}

TEST_F(Subjects, APolicyThatSelectsNobodyIsNowhere) {
  const auto view = find();
  EXPECT_THAT(view.subjects, IsEmpty());
  EXPECT_THAT(view.nodes, IsEmpty());
  EXPECT_EQ(view.nodes_in_all, 0U);
}

TEST_F(Subjects, AViewIsTheSameAfterItsWayAsJson) {
  add("web-5f7-b", "web", "n2");
  auto view = find();
  view.valid = true;
  view.source = "generation 1";
  view.warnings = {"odd"};
  const json there = view;
  EXPECT_EQ(json(there.get<PolicyView>()), there);
  EXPECT_EQ(there["nodes"], json::parse(R"([{"node":"n2","problem":"away"}])"));
  EXPECT_EQ(there["subjects"][0]["namespace"], "shop");

  const ReachView matrix{
      .ns = "shop",
      .workloads = {{.ns = "shop", .kind = "Pod", .name = "a"}},
      .pods = {"shop/a"},
      .last_pods = {"shop/a"},
      .ports = {"80/TCP"},
      .more = true,
      .allowed = {{1}},
      .some = {{0}}};
  const json text = matrix;
  EXPECT_EQ(json(text.get<ReachView>()), text);
  EXPECT_THROW((void)json::parse(R"({"workloads": 3})").get<ReachView>(),
               json::exception);
  // Of an older operator.
  EXPECT_EQ(json::parse(R"({"name": "p"})").get<PolicyView>().nodes_in_all, 0U);
}

}  // namespace
}  // namespace sluice::ui
