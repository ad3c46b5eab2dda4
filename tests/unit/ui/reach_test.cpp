// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/reach.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/policy/parse.h"

namespace sluice::ui {
namespace {

using testing::ElementsAre;

class Reach : public testing::Test {
 protected:
  // Of the Deployment `app`, or of nobody if `owned` is false.
  void add(const std::string& name, const std::string& app,
           const std::string& address, bool owned = true) {
    kube::Pod pod;
    pod.ns = "shop";
    pod.name = name;
    pod.labels = {{"app", app}};
    pod.node = "n1";
    pod.service_account = "default";
    pod.ips = {*parse_ip(address)};
    if (owned) {
      pod.labels["pod-template-hash"] = "5f7";
      pod.controller = {.kind = "ReplicaSet", .name = app + "-5f7"};
    }
    if (app == "db") {
      pod.ports = {{.name = "sql", .port = 5432}};
    }
    translator_.set(pod);
    pods_.push_back("shop/" + name);
  }
  void SetUp() override {
    translator_.set(kube::Node{.name = "n1", .labels = {}, .ips = {}});
    add("web-5f7-a", "web", "10.0.0.1");
    add("web-5f7-b", "web", "10.0.0.2");
    add("db-5f7-a", "db", "10.0.0.3");
    add("tool", "tool", "10.0.0.4", false);
    const auto policy = policy::parse_policy(nlohmann::json::parse(R"({
      "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
      "metadata": {"namespace": "shop", "name": "db"},
      "spec": {"podSelector": {"matchLabels": {"app": "db"}},
               "ingress": [{"from": [{"podSelector": {"matchLabels":
                                                      {"app": "web"}}}],
                            "ports": [{"port": 5432}]}]}})"));
    ASSERT_TRUE(policy) << policy.error().message;
    translator_.set(*policy);
  }
  ReachView view(const std::vector<std::string>& ports) {
    return reach_of(translator_, "shop", pods_, ports).value();
  }

  policy::Translator translator_;
  std::vector<std::string> pods_;
};

TEST_F(Reach, IsBetweenWorkloadsByTheRulesOfBothEnds) {
  const auto result = view({"80/TCP"});
  ASSERT_EQ(result.workloads.size(), 3U);
  EXPECT_EQ(result.workloads[0].name, "db");
  EXPECT_EQ(result.workloads[1].kind + result.workloads[1].name, "Podtool");
  EXPECT_EQ(result.workloads[2].kind + result.workloads[2].name,
            "Deploymentweb");
  EXPECT_THAT(result.ports, ElementsAre("80/TCP", "5432/TCP"));
  EXPECT_THAT(result.pods,
              ElementsAre("shop/db-5f7-a", "shop/tool", "shop/web-5f7-a"));
  EXPECT_THAT(result.last_pods,
              ElementsAre("shop/db-5f7-a", "shop/tool", "shop/web-5f7-b"));
  EXPECT_FALSE(result.more);
  EXPECT_EQ(result.allowed[2][0], 2U);  // web to db: at 5432 alone
  EXPECT_EQ(result.allowed[1][0], 0U);  // tool to db: denied
  EXPECT_EQ(result.allowed[0][2], 3U);  // db to web: nothing isolates
  EXPECT_EQ(result.allowed[1][2], 3U);
}

TEST_F(Reach, SaysWhereOnlySomePodsReach) {
  auto pod = *translator_.pod("shop/web-5f7-b");
  pod.labels["app"] = "other";
  translator_.set(pod);
  const auto result = view({"80/TCP"});
  ASSERT_EQ(result.workloads.size(), 3U);
  EXPECT_EQ(result.allowed[2][0], 0U);
  EXPECT_EQ(result.some[2][0], 2U);  // one of the two: at 5432
  EXPECT_EQ(result.allowed[0][2], 3U);
  EXPECT_EQ(result.some[0][2], 0U);
}

TEST_F(Reach, LetsASinglePodReachItself) {
  const auto result = view({"80/TCP"});
  EXPECT_EQ(result.allowed[0][0], 3U);
  EXPECT_EQ(result.allowed[2][2], 3U);
}

TEST_F(Reach, HasNoPortsWhereNoneIsNamed) {
  std::erase(pods_, "shop/db-5f7-a");
  const auto result = view({});
  EXPECT_EQ(result.workloads.size(), 2U);
  EXPECT_TRUE(result.ports.empty());
  EXPECT_EQ(result.allowed[0][1], 0U);
}

TEST_F(Reach, RefusesAPortThatIsNone) {
  EXPECT_FALSE(reach_of(translator_, "shop", pods_, {"http"}));
}

}  // namespace
}  // namespace sluice::ui
