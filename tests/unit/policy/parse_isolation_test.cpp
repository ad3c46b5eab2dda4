// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/policy/parse_helpers.h"

// What stands in for a policy that is not valid.
namespace sluice::policy::test {
namespace {

using testing::IsEmpty;
using Directions = std::array<bool, 2>;

// The only spec of what stands in, which has no rules; nullopt for nothing.
std::optional<Spec> isolation(const json& object) {
  EXPECT_NE(rejection(object), "accepted") << object;
  const auto policy = parse_isolation(object);
  if (!policy) {
    return std::nullopt;
  }
  EXPECT_EQ(policy->specs.size(), 1U) << object;
  EXPECT_EQ(policy->tier, Tier::kNormal);
  EXPECT_THAT(policy->specs.at(0).rules, IsEmpty());
  return policy->specs.at(0);
}

Directions directions(const json& object) {
  const auto spec = isolation(object);
  return spec ? spec->default_deny : Directions{};
}

TEST(Isolation, of_the_subjects_and_directions_of_a_network_policy) {
  const auto spec = isolation(netpol(
      R"({"podSelector": {"matchLabels": {"app": "web"}},
          "ingress": [{"from": [{"ipBlock": {"cidr": "nonsense"}}]}]})"));
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->subject,
            (LabelSelector{{in("app", {"web"}), in_namespace("x")}}));
  EXPECT_EQ(spec->default_deny, (Directions{true, false}));
  EXPECT_EQ(directions(netpol(R"({"egress": [{"to": [{}]}]})")),
            (Directions{true, true}));
  EXPECT_EQ(directions(netpol(
                R"({"policyTypes": ["Egress"], "ingress": [{"from": 1}]})")),
            (Directions{false, true}));
  EXPECT_EQ(directions(netpol(R"({"podSelector": {}, "surprise": 1})")),
            (Directions{true, false}));
}

TEST(Isolation, needs_a_subject_and_directions_that_can_be_read) {
  for (const char* spec :
       {R"({"podSelector": []})", R"({"podSelector": {"matchLabels": 1}})",
        R"({"policyTypes": ["Both"]})", R"({"policyTypes": "Ingress"})", "7"}) {
    EXPECT_FALSE(isolation(netpol(spec))) << spec;
  }
  json nameless = netpol(R"({"egress": 1})");
  nameless["metadata"].erase("name");
  EXPECT_FALSE(isolation(nameless));
}

TEST(Isolation, of_a_cilium_policy_in_the_directions_that_have_rules) {
  const auto spec = isolation(cnp(
      R"({"endpointSelector": {"matchLabels": {"app": "web"}},
          "ingress": [{"toPorts": [{"ports": [{"port": "80"}],
                                    "rules": {"http": []}}]}]})"));
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->default_deny, (Directions{true, false}));
  EXPECT_EQ(directions(cnp(R"({"endpointSelector": {}, "egressDeny": [1]})")),
            (Directions{false, true}));
  EXPECT_EQ(directions(cnp(R"({"endpointSelector": {}, "ingress": [1],
                "egress": [1], "enableDefaultDeny": {"ingress": false}})")),
            (Directions{false, true}));
  EXPECT_FALSE(isolation(cnp(R"({"ingress": [{}]})")));
  EXPECT_FALSE(isolation(cnp(R"({"endpointSelector": {}})")));
  EXPECT_FALSE(isolation(cnp(R"({"nodeSelector": {}, "ingress": [{}]})")));
}

TEST(Isolation, of_those_of_several_specs_that_can_be_read) {
  json object = cnp("{}");
  object.erase("spec");
  object["specs"] = json::parse(
      R"([{"endpointSelector": {"matchLabels": {"a": "b"}}, "ingress": [1]},
          {"endpointSelector": [], "egress": [1]}])");
  EXPECT_EQ(directions(object), (Directions{true, false}));
}

TEST(Isolation, of_a_cluster_network_policy_is_that_of_the_normal_tier) {
  EXPECT_EQ(directions(kcnp(
                R"({"tier": "Admin", "priority": 5000,
                    "subject": {"namespaces": {}}, "egress": [{}]})")),
            (Directions{false, true}));
  EXPECT_FALSE(isolation(kcnp(
      R"({"tier": "Admin", "priority": 1, "subject": {}, "egress": [{}]})")));
}

}  // namespace
}  // namespace sluice::policy::test
