// SPDX-License-Identifier: Apache-2.0
#include "operator/program/policy_facts.h"

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/kube/api/resource.h"

// What a replica knows of policies, collected in pieces.
namespace sluice::operatord {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;

// Pods x/a on node n1 and x/b on node n2, and policies for both.
class OperatorPolicyFacts : public ::testing::Test {
 protected:
  OperatorPolicyFacts() {
    for (const auto& [name, node, ip] :
         {std::tuple{"a", "n1", "10.0.0.1"}, {"b", "n2", "10.0.0.2"}}) {
      kube::Pod pod;
      pod.ns = "x";
      pod.name = name;
      pod.node = node;
      pod.ips = {*parse_ip(ip)};
      put(kube::pods(), name, pod);
    }
    for (const char* name : {"p", "q", "r"}) {
      put_policy(name);
    }
  }

  template <typename Object>
  void put(const kube::Resource& resource, const std::string& name,
           Object object) {
    kube::Event event;
    event.resource = &resource;
    event.ns = "x";
    event.name = name;
    event.uid = "u" + name;
    event.generation = 1;
    event.resource_version = "101";
    event.object = std::move(object);
    store_.take(event);
  }
  void put_policy(const std::string& name, const char* port = "80") {
    put(kube::cilium_network_policies(), name,
        kube::Event::Json(std::make_shared<const json>(json{
            {"apiVersion", "cilium.io/v2"},
            {"kind", "CiliumNetworkPolicy"},
            {"metadata", {{"name", name}, {"namespace", "x"}}},
            {"spec",
             {{"endpointSelector", json::object()},
              {"ingress",
               json::array(
                   {{{"toPorts",
                      json::array(
                          {{{"ports",
                             json::array({{{"port", port}}})}}})}}})}}}})));
  }
  static std::vector<std::string> names(const PolicyFacts& facts) {
    std::vector<std::string> result;
    result.reserve(facts.policies.size());
    for (const auto& policy : facts.policies) {
      result.push_back(policy.key.name);
    }
    return result;
  }
  static std::vector<std::string> warnings(const policy::PolicyKey& policy) {
    return {"of " + policy.name};
  }

  policy::Translator translator_;
  op::ClusterStore store_{translator_, "sluice-system"};
};

TEST_F(OperatorPolicyFacts, a_step_is_bounded_by_policies_and_their_pods) {
  // A policy and its two pods are three.
  PolicyFactCollector one(store_, translator_, warnings, 1);
  EXPECT_TRUE(one.step());
  EXPECT_TRUE(one.step());
  EXPECT_FALSE(one.step());
  const auto facts = std::move(one).take();
  EXPECT_THAT(names(facts), ElementsAre("p", "q", "r"));
  EXPECT_THAT(facts.policies[0].nodes, ElementsAre("n1", "n2"));
  EXPECT_THAT(facts.policies[0].warnings, ElementsAre("of p"));
  PolicyFactCollector two(store_, translator_, warnings, 4);
  EXPECT_TRUE(two.step());
  EXPECT_FALSE(two.step());
  PolicyFactCollector counts(store_, translator_, {}, 3);
  EXPECT_FALSE(counts.step()) << "without details, pods do not matter";
  EXPECT_TRUE(std::move(counts).take().policies[0].nodes.empty());
}

TEST_F(OperatorPolicyFacts, policies_may_come_between_the_steps) {
  PolicyFactCollector collector(store_, translator_, {}, 1);
  EXPECT_TRUE(collector.step());
  put_policy("a");
  put_policy("q2", "no port");
  while (collector.step()) {
  }
  const auto facts = std::move(collector).take();
  EXPECT_THAT(names(facts), ElementsAre("p", "q", "q2", "r"));
  EXPECT_FALSE(facts.policies[2].valid);
  ASSERT_EQ(facts.problems.size(), 1);
  EXPECT_THAT(facts.problems[0].object, ::testing::HasSubstr("x/q2"));
}

}  // namespace
}  // namespace sluice::operatord
