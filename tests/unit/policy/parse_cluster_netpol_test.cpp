// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "tests/unit/policy/parse_helpers.h"

// What a ClusterNetworkPolicy becomes.
namespace sluice::policy::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

json with_rules(const std::string& rules) {
  return kcnp(R"({"tier": "Baseline", "priority": 7,
                  "subject": {"namespaces": {}}, )" +
              rules + "}");
}

json with_egress(const std::string& rule) {
  return with_rules(R"("egress": [)" + rule + "]");
}

TEST(ClusterNetworkPolicy, tier_priority_and_order) {
  const Policy policy = accepted(with_rules(
      R"("ingress": [
           {"action": "Accept", "name": "first", "from": [{"namespaces": {}}]},
           {"action": "Deny", "from": [{"namespaces": {}}]},
           {"action": "Pass", "from": [{"namespaces": {}}]}])"));
  EXPECT_EQ(policy.tier, Tier::kBaseline);
  EXPECT_EQ(policy.priority, 7);
  const Spec& spec = policy.specs.at(0);
  ASSERT_EQ(spec.rules.size(), 3U);
  EXPECT_EQ(spec.rules[0].action, Action::kAllow);
  EXPECT_EQ(spec.rules[0].name, "first");
  EXPECT_EQ(spec.rules[1].action, Action::kDeny);
  EXPECT_EQ(spec.rules[2].action, Action::kPass);
  EXPECT_EQ(spec.rules[2].path, "spec.ingress[2]");
  EXPECT_THAT(spec.default_deny, ElementsAre(false, false));
}

TEST(ClusterNetworkPolicy, subjects_and_peers_by_namespace_and_pod) {
  const Policy policy = accepted(kcnp(
      R"({"tier": "Admin", "priority": 0,
          "subject": {"pods": {"namespaceSelector": {},
                               "podSelector": {"matchLabels": {"a": "b"}}}},
          "ingress": [{"action": "Accept", "from": [
             {"namespaces": {"matchLabels": {"env": "prod"}}},
             {"pods": {"podSelector": {}}}]}]})"));
  const Spec& spec = policy.specs.at(0);
  EXPECT_EQ(spec.subject, (LabelSelector{{in("a", {"b"}), any_namespace()}}));
  EXPECT_THAT(
      spec.rules.at(0).peers,
      ElementsAre(PeerSelector(LabelSelector{
                      {in("io.cilium.k8s.namespace.labels.env", {"prod"}),
                       any_namespace()}}),
                  PeerSelector(LabelSelector{{any_namespace()}})));
}

TEST(ClusterNetworkPolicy, networks_match_any_address) {
  const Rule rule = only_rule(with_egress(
      R"({"action": "Deny", "to": [{"networks": ["10.0.0.0/8", "::/0"]}]})"));
  EXPECT_THAT(
      rule.peers,
      ElementsAre(PeerSelector(CidrPeer{.cidr = *parse_prefix("10.0.0.0/8")}),
                  PeerSelector(CidrPeer{.cidr = *parse_prefix("::/0")})));
  EXPECT_TRUE(rule.l4.any);
}

TEST(ClusterNetworkPolicy, nodes_are_selected_by_their_labels) {
  const Rule rule = only_rule(with_egress(
      R"({"action": "Accept", "to": [{"nodes": {"matchLabels": {"role": "a"},
            "matchExpressions": [{"key": "gpu", "operator": "DoesNotExist"}]}},
            {"nodes": {}}]})"));
  EXPECT_THAT(
      rule.peers,
      ElementsAre(PeerSelector(NodePeer{
                      {{{.key = "gpu", .op = Requirement::Op::kDoesNotExist},
                        {.key = "role",
                         .op = Requirement::Op::kIn,
                         .values = {"a"}}}}}),
                  PeerSelector(NodePeer{})));
  EXPECT_THAT(
      accepted(with_egress(R"({"action": "Deny", "to": [{"nodes": {}}]})"))
          .warnings,
      IsEmpty());
}

TEST(ClusterNetworkPolicy, protocols) {
  const Rule rule = only_rule(with_egress(
      R"({"action": "Accept", "to": [{"namespaces": {}}], "protocols": [
           {"tcp": {"destinationPort": {"number": 443}}},
           {"udp": {"destinationPort": {"range": {"start": 1, "end": 9}}}},
           {"sctp": {"destinationPort": {"number": 65535}}},
           {"destinationNamedPort": "HTTP"}]})"));
  EXPECT_EQ(rule.l4, (L4{.ranges = {{IPPROTO_TCP, 443, 443},
                                    {IPPROTO_UDP, 1, 9},
                                    {IPPROTO_SCTP, 65535, 65535}},
                         .named = {{.name = "http"}}}));
}

// What the API asks of an implementation that does not know a kind of peer.
TEST(ClusterNetworkPolicy, a_rule_with_an_unknown_peer_fails_closed) {
  const auto rule = [](const std::string& action) {
    return with_egress(R"({"action": ")" + action +
                       R"(", "to": [{"namespaces": {}}, {}], "protocols":
                            [{"tcp": {"destinationPort": {"number": 80}}}]})");
  };
  const Rule accept = only_rule(rule("Accept"));
  EXPECT_EQ(accept.action, Action::kAllow);
  EXPECT_FALSE(accept.any_peer);
  EXPECT_THAT(accept.peers, IsEmpty());
  for (const char* action : {"Deny", "Pass"}) {
    const Rule deny = only_rule(rule(action));
    EXPECT_EQ(deny.action, Action::kDeny);
    EXPECT_TRUE(deny.any_peer);
    EXPECT_TRUE(deny.l4.any);
  }
  EXPECT_THAT(accepted(rule("Deny")).warnings,
              ElementsAre(HasSubstr("spec.egress[0]")));
}

struct Bad {
  const char* spec;
  const char* error;
};
class ClusterNetworkPolicyErrors : public testing::TestWithParam<Bad> {};

TEST_P(ClusterNetworkPolicyErrors, name_the_field) {
  EXPECT_THAT(rejection(kcnp(GetParam().spec)), HasSubstr(GetParam().error));
}

INSTANTIATE_TEST_SUITE_P(
    fields, ClusterNetworkPolicyErrors,
    testing::Values(
        Bad{R"({})", "spec.tier: must be set"},
        Bad{R"({})", "spec.priority: must be set"},
        Bad{R"({})", "spec.subject: must be set"},
        Bad{R"({"tier": "Normal"})",
            R"(spec.tier: must be Admin or Baseline, is "Normal")"},
        Bad{R"({"priority": -1})", "spec.priority: must be from 0 to 1000"},
        Bad{R"({"subject": {}})", "spec.subject: must have exactly one of"},
        Bad{R"({"subject": {"namespaces": {}, "pods": {"podSelector": {}}}})",
            "spec.subject: must have exactly one of"},
        Bad{R"({"subject": {"nodes": {}}})",
            "spec.subject.nodes: unknown field"},
        Bad{R"({"subject": {"pods": {}}})",
            "spec.subject.pods.podSelector: must be set"},
        Bad{R"({"ingress": [{"from": [{"namespaces": {}}]}]})",
            "spec.ingress[0].action: must be set"},
        Bad{R"({"ingress": [{"action": "Allow", "from": [{"namespaces": {}}]}]})",
            R"(spec.ingress[0].action: must be Accept, Deny or Pass, is "Allow")"},
        Bad{R"({"ingress": [{"action": "Deny", "from": []}]})",
            "spec.ingress[0].from: must have 1 to 25 elements, has 0"},
        Bad{R"({"ingress": [{"action": "Deny", "from": [{"networks": ["::/0"]}]}]})",
            "spec.ingress[0].from[0].networks: unknown field"},
        Bad{R"({"ingress": [{"action": "Deny", "from": [{"nodes": {}}]}]})",
            "spec.ingress[0].from[0].nodes: unknown field"},
        Bad{R"({"egress": [{"action": "Deny", "to": [{"nodes": {"matchExpressions":
              [{"key": "a", "operator": "In"}]}}]}]})",
            "spec.egress[0].to[0].nodes.matchExpressions[0]"},
        Bad{R"({"egress": [{"action": "Deny", "to": [{"nodes": {}}],
              "protocols": [{"destinationNamedPort": "http"}]}]})",
            "spec.egress[0].to[0]: must not be combined with a named port"},
        Bad{R"({"ingress": [{"action": "Deny", "from": null}]})",
            "spec.ingress[0].from: must be a list, is null"},
        Bad{R"({"egress": [{"action": "Deny", "to": [{"networks": ["10.0.0.1"]}]}]})",
            R"(spec.egress[0].to[0].networks[0]: no prefix length in CIDR "10.0.0.1")"},
        Bad{R"({"egress": [{"action": "Deny", "to": [{"namespaces": {}}],
                "protocols": []}]})",
            "spec.egress[0].protocols: must have 1 to 25 elements, has 0"},
        Bad{R"({"egress": [{"action": "Deny", "to": [{"namespaces": {}}],
                "protocols": [{"tcp": {}}]}]})",
            "spec.egress[0].protocols[0].tcp: must have exactly one of"},
        Bad{R"({"egress": [{"action": "Deny", "to": [{"namespaces": {}}],
                "protocols": [{"icmp": {}}]}]})",
            "spec.egress[0].protocols[0].icmp: unknown field"},
        Bad{R"({"egress": [{"action": "Deny", "to": [{"namespaces": {}}],
                "protocols": [{"tcp": {"destinationPort": {"number": 0}}}]}]})",
            "destinationPort.number: must be from 1 to 65535, is 0"},
        Bad{R"({"egress": [{"action": "Deny", "to": [{"namespaces": {}}],
                "protocols": [{"tcp": {"destinationPort":
                  {"range": {"start": 9, "end": 9}}}}]}]})",
            "range.end: must be greater than start 9, is 9"}));

}  // namespace
}  // namespace sluice::policy::test
