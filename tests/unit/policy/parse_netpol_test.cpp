// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "tests/unit/policy/parse_helpers.h"

// What a NetworkPolicy becomes.
namespace sluice::policy::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

json with_ingress(const std::string& rule) {
  return netpol(R"({"podSelector": {}, "ingress": [)" + rule + "]}");
}

LabelSelector peer_of(const std::string& peer) {
  const Rule rule = only_rule(with_ingress(R"({"from": [)" + peer + "]}"));
  if (rule.peers.size() != 1 ||
      !std::holds_alternative<LabelSelector>(rule.peers[0])) {
    ADD_FAILURE() << "not one label selector: " << peer;
    return {};
  }
  return std::get<LabelSelector>(rule.peers[0]);
}

L4 l4_of(const std::string& ports) {
  return only_rule(with_ingress(R"({"ports": [)" + ports + "]}")).l4;
}

TEST(NetworkPolicy, key_and_subject) {
  const Policy policy =
      accepted(netpol(R"({"podSelector": {"matchLabels": {"app": "web"}}})"));
  EXPECT_EQ(policy.key.kind, "NetworkPolicy");
  EXPECT_EQ(policy.key.ns, "x");
  EXPECT_EQ(policy.tier, Tier::kNormal);
  EXPECT_EQ(policy.specs.at(0).subject,
            (LabelSelector{{in("app", {"web"}), in_namespace("x")}}));
}

// The API server stores an empty selector, and an empty spec likewise.
TEST(NetworkPolicy, without_a_selector_every_pod_of_the_namespace) {
  for (const char* spec : {"{}", "null", R"({"podSelector": null})",
                           R"({"policyTypes": ["Ingress"]})"}) {
    const Policy policy = accepted(netpol(spec));
    ASSERT_EQ(policy.specs.size(), 1U) << spec;
    EXPECT_EQ(policy.specs[0].subject, LabelSelector{{in_namespace("x")}});
    EXPECT_TRUE(policy.specs[0].default_deny[0]);
    EXPECT_FALSE(policy.specs[0].default_deny[1]);
    EXPECT_THAT(policy.specs[0].rules, IsEmpty());
  }
  json bare = netpol("{}");
  bare.erase("spec");
  EXPECT_EQ(accepted(bare).specs, accepted(netpol("{}")).specs);
}

// API servers before 1.36 accept these, and newer ones keep what is stored.
TEST(NetworkPolicy, ip_blocks_as_older_api_servers_read_them) {
  const auto cidr_of = [](const std::string& text) {
    const Rule rule = only_rule(with_ingress(
        R"({"from": [{"ipBlock": {"cidr": ")" + text + R"("}}]})"));
    return rule.peers.empty()
               ? std::string()
               : to_string(std::get<CidrPeer>(rule.peers[0]).cidr);
  };
  EXPECT_EQ(cidr_of("203.000.113.010/024"), "203.0.113.0/24");
  EXPECT_EQ(cidr_of("010.0.0.0/8"), "10.0.0.0/8");
  EXPECT_EQ(cidr_of("::ffff:203.0.113.0/120"), "203.0.113.0/24");
  EXPECT_EQ(cidr_of("::FFFF:cb00:7100/120"), "203.0.113.0/24");
  EXPECT_EQ(cidr_of("::ffff:0.0.0.0/96"), "0.0.0.0/0");
  EXPECT_EQ(cidr_of("::ffff:203.0.113.0/64"), "::/64");
  EXPECT_EQ(cidr_of("fd00:0:0:0010::/064"), "fd00:0:0:10::/64");
  EXPECT_THAT(
      accepted(
          with_ingress(R"({"from": [{"ipBlock": {"cidr": "010.0.0.0/8"}}]})"))
          .warnings,
      ElementsAre(HasSubstr("from[0].ipBlock.cidr: read as 10.0.0.0/8")));
  for (const char* text : {"256.0.0.0/8", "10.0.0.0/33", "::ffff:1.2.3.4/129",
                           "10.0.0/8", "0x0a.0.0.0/8", "10.0.0.0", "/8", ""}) {
    EXPECT_NE(rejection(with_ingress(R"({"from": [{"ipBlock": {"cidr": ")" +
                                     std::string(text) + R"("}}]})")),
              "accepted")
        << text;
  }
}

TEST(NetworkPolicy, pods_of_the_own_namespace) {
  EXPECT_EQ(peer_of(R"({"podSelector": {}})"),
            LabelSelector{{in_namespace("x")}});
  EXPECT_EQ(peer_of(R"({"podSelector": {"matchExpressions":
                        [{"key": "app", "operator": "NotIn", "values": ["b"]}]}})"),
            (LabelSelector{{not_in("app", {"b"}), in_namespace("x")}}));
}

TEST(NetworkPolicy, all_pods_of_selected_namespaces) {
  EXPECT_EQ(peer_of(R"({"namespaceSelector": {}})"),
            LabelSelector{{any_namespace()}});
  EXPECT_EQ(peer_of(R"({"namespaceSelector": {"matchExpressions":
                        [{"key": "env", "operator": "DoesNotExist"}]}})"),
            (LabelSelector{{missing("io.cilium.k8s.namespace.labels.env"),
                            any_namespace()}}));
}

TEST(NetworkPolicy, selected_pods_of_selected_namespaces) {
  EXPECT_EQ(
      peer_of(R"({"podSelector": {"matchLabels": {"app": "b"}},
                  "namespaceSelector":
                    {"matchLabels": {"kubernetes.io/metadata.name": "y"}}})"),
      (LabelSelector{
          {in("app", {"b"}),
           in("io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name",
              {"y"}),
           any_namespace()}}));
}

TEST(NetworkPolicy, an_ip_block_matches_any_address) {
  const Rule rule = only_rule(with_ingress(
      R"({"from": [{"ipBlock": {"cidr": "10.0.0.7/8",
                                "except": ["10.2.0.0/16", "10.1.0.0/16"]}}]})"));
  EXPECT_THAT(rule.peers, ElementsAre(PeerSelector(
                              CidrPeer{.cidr = *parse_prefix("10.0.0.0/8"),
                                       .except = {*parse_prefix("10.1.0.0/16"),
                                                  *parse_prefix("10.2.0.0/16")},
                                       .external_only = false})));
}

TEST(NetworkPolicy, no_or_an_empty_peer_list_is_any_peer) {
  for (const char* rule : {"{}", R"({"from": []})", R"({"ports": []})"}) {
    const Rule parsed = only_rule(with_ingress(rule));
    EXPECT_TRUE(parsed.any_peer) << rule;
    EXPECT_TRUE(parsed.l4.any) << rule;
    EXPECT_THAT(parsed.peers, IsEmpty()) << rule;
  }
}

TEST(NetworkPolicy, null_is_as_good_as_absent_but_warned_of) {
  const Policy policy = accepted(with_ingress(R"({"from": null})"));
  EXPECT_TRUE(policy.specs.at(0).rules.at(0).any_peer);
  EXPECT_THAT(policy.warnings,
              ElementsAre("spec.ingress[0]: from is null, which means any"));
}

TEST(NetworkPolicy, ports) {
  EXPECT_EQ(l4_of("{}"), (L4{.ranges = {{IPPROTO_TCP, 0, 65535}}}));
  EXPECT_EQ(l4_of(R"({"protocol": "UDP"})"),
            (L4{.ranges = {{IPPROTO_UDP, 0, 65535}}}));
  EXPECT_EQ(l4_of(R"({"port": 80})"), (L4{.ranges = {{IPPROTO_TCP, 80, 80}}}));
  EXPECT_EQ(l4_of(R"({"port": 80, "endPort": 90, "protocol": "SCTP"})"),
            (L4{.ranges = {{IPPROTO_SCTP, 80, 90}}}));
  EXPECT_EQ(l4_of(R"({"port": "http"})"),
            (L4{.named = {{.name = "http", .protocol = IPPROTO_TCP}}}));
}

TEST(NetworkPolicy, policy_types_decide_which_rules_count) {
  const Policy policy =
      accepted(netpol(R"({"podSelector": {}, "policyTypes": ["Egress"],
                 "ingress": [{}], "egress": [{}, {}]})"));
  const Spec& spec = policy.specs.at(0);
  EXPECT_THAT(spec.default_deny, ElementsAre(false, true));
  ASSERT_EQ(spec.rules.size(), 2U);
  EXPECT_EQ(spec.rules[0].direction, Direction::kEgress);
  EXPECT_EQ(spec.rules[1].path, "spec.egress[1]");
  EXPECT_THAT(policy.warnings, ElementsAre(HasSubstr("spec.ingress")));
}

TEST(NetworkPolicy, rules_that_do_not_count_are_checked_all_the_same) {
  EXPECT_THAT(rejection(netpol(
                  R"({"podSelector": {}, "policyTypes": ["Egress"],
                      "ingress": [{"ports": [{"port": 0}]}]})")),
              HasSubstr("spec.ingress[0].ports[0].port"));
}

TEST(NetworkPolicy, several_peers_are_alternatives) {
  EXPECT_EQ(
      only_rule(
          with_ingress(
              R"({"from": [{"namespaceSelector": {}}, {"podSelector": {}}]})"))
          .peers.size(),
      2U);
}

}  // namespace
}  // namespace sluice::policy::test
