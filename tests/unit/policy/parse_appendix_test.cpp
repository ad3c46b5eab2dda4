// SPDX-License-Identifier: Apache-2.0
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "tests/unit/policy/parse_helpers.h"

// The rows V01 to V17 of the validation table in the policy semantics.
namespace sluice::policy::test {
namespace {

using testing::ElementsAre;
using testing::StartsWith;

std::string ports_rule(int count) {
  json ports = json::array();
  for (int i = 0; i < count; ++i) {
    ports.push_back({{"port", std::to_string(1000 + i)}, {"protocol", "TCP"}});
  }
  return json{{"toPorts", {{{"ports", ports}}}}}.dump();
}

std::string port_rule(const std::string& port) {
  return R"({"toPorts": [{"ports": [{"protocol": "TCP", "port": ")" + port +
         R"("}]}]})";
}

IpPrefix prefix(const std::string& text) {
  return *parse_prefix(text);
}

TEST(AppendixV01, cnp_without_any_section_is_rejected) {
  EXPECT_THAT(rejection(cnp(R"({"endpointSelector": {}})")),
              StartsWith("spec: rule must have at least one of ingress"));
}

TEST(AppendixV02, two_kinds_of_peers_in_a_rule_are_rejected) {
  EXPECT_EQ(rejection(cnp_ingress(
                R"({"fromEndpoints": [{}], "fromCIDR": ["10.0.0.0/8"]})")),
            "spec.ingress[0]: combining fromEndpoints and fromCIDR is not "
            "supported");
}

TEST(AppendixV03, forty_ports_are_accepted_and_forty_one_rejected) {
  EXPECT_EQ(only_rule(cnp_ingress(ports_rule(40))).l4.ranges.size(), 40U);
  EXPECT_THAT(rejection(cnp_ingress(ports_rule(41))),
              StartsWith("spec.ingress[0].toPorts[0].ports: too many ports, "
                         "the max is 40"));
}

TEST(AppendixV04, icmps_beside_ports_are_rejected) {
  EXPECT_THAT(
      rejection(cnp_ingress(R"({"toPorts": [{"ports": [{"port": "80"}]}],
                                "icmps": [{"fields": [{"type": 8}]}]})")),
      StartsWith("spec.ingress[0].icmps: "));
}

TEST(AppendixV05, ports_are_numbers_or_names) {
  const std::string path = "spec.ingress[0].toPorts[0].ports[0].port: ";
  EXPECT_EQ(rejection(cnp_ingress(port_rule(""))),
            path + "port must be specified");
  EXPECT_EQ(rejection(cnp_ingress(port_rule("65536"))),
            path + "unable to parse port \"65536\"");
  EXPECT_THAT(only_rule(cnp_ingress(port_rule("http"))).l4.named,
              ElementsAre(NamedPort{.name = "http", .protocol = IPPROTO_TCP}));
  EXPECT_THAT(only_rule(cnp_ingress(port_rule("0"))).l4.ranges,
              ElementsAre(PortRange{
                  .protocol = IPPROTO_TCP, .first = 0, .last = 65535}));
}

TEST(AppendixV06, an_except_outside_of_its_cidr_is_rejected) {
  EXPECT_EQ(
      rejection(cnp_egress(
          R"({"toCIDRSet": [{"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}]})")),
      "spec.egress[0].toCIDRSet[0].except[0]: CIDR prefix 10.0.0.0/8 does not "
      "contain exclude CIDR prefix \"11.0.0.0/16\"");
}

// The table would have it rejected; the vectors, computed by Cilium, accept it
// and let it remove everything. So do we, with a warning.
TEST(AppendixV07, an_except_wider_than_its_cidr_removes_all_of_it) {
  const Policy policy = accepted(cnp_egress(
      R"({"toCIDRSet": [{"cidr": "10.1.0.0/16", "except": ["10.1.0.0/8"]}]})"));
  ASSERT_EQ(policy.specs.size(), 1U);
  EXPECT_EQ(policy.specs[0].rules[0].peers[0],
            PeerSelector(CidrPeer{.cidr = prefix("10.1.0.0/16"),
                                  .except = {prefix("10.0.0.0/8")},
                                  .external_only = true}));
  EXPECT_THAT(policy.warnings,
              ElementsAre("spec.egress[0].toCIDRSet[0].except[0]: covers the "
                          "whole of 10.1.0.0/16: matches nothing"));
}

TEST(AppendixV08, a_cidr_beside_a_group_is_rejected) {
  EXPECT_THAT(
      rejection(cnp_egress(
          R"({"toCIDRSet": [{"cidr": "10.0.0.0/8", "cidrGroupRef": "g"}]})")),
      StartsWith("spec.egress[0].toCIDRSet[0]: must have exactly one of"));
}

TEST(AppendixV09, a_cnp_with_a_node_selector_is_rejected) {
  EXPECT_EQ(rejection(cnp(R"({"nodeSelector": {}, "ingress": [{}]})")),
            "spec.nodeSelector: rule cannot have nodeSelector");
}

TEST(AppendixV10, a_peer_that_names_its_namespace_is_not_scoped_to_the_own) {
  const Rule rule = only_rule(cnp_ingress(
      R"({"fromEndpoints": [{"matchLabels": {"io.kubernetes.pod.namespace": "y"}}]})"));
  EXPECT_THAT(rule.peers, ElementsAre(PeerSelector(LabelSelector{
                              {in_cluster(), in_namespace("y")}})));
}

TEST(AppendixV11, the_namespace_of_a_subject_is_overwritten) {
  const Policy policy = accepted(cnp(
      R"({"endpointSelector":
           {"matchLabels": {"k8s:io.kubernetes.pod.namespace": "y"}},
          "ingress": [{}]})"));
  ASSERT_EQ(policy.specs.size(), 1U);
  EXPECT_EQ(policy.specs[0].subject, LabelSelector{{in_namespace("x")}});
  EXPECT_THAT(policy.warnings,
              ElementsAre("spec.endpointSelector: io.kubernetes.pod.namespace "
                          "is overwritten with \"x\""));
}

TEST(AppendixV12, a_netpol_except_has_to_be_strictly_within) {
  const auto block = [](const std::string& except) {
    return netpol(R"({"podSelector": {}, "ingress": [{"from": [{"ipBlock":
        {"cidr": "10.0.0.0/8", "except": [")" +
                  except + R"("]}}]}]})");
  };
  const std::string path = "spec.ingress[0].from[0].ipBlock.except[0]: ";
  EXPECT_EQ(rejection(block("10.0.0.0/8")),
            path + "must be strictly within 10.0.0.0/8, is 10.0.0.0/8");
  EXPECT_THAT(rejection(block("11.0.0.0/16")), StartsWith(path));
  EXPECT_THAT(rejection(block("10.0.0.0/7")), StartsWith(path));
  EXPECT_EQ(rejection(block("10.0.0.0/9")), "accepted");
}

TEST(AppendixV13, a_netpol_end_port_needs_a_lower_number) {
  const auto port = [](const std::string& text) {
    return rejection(netpol(R"({"podSelector": {}, "ingress": [{"ports": [)" +
                            text + "]}]}"));
  };
  const std::string path = "spec.ingress[0].ports[0]";
  EXPECT_EQ(port(R"({"endPort": 90})"),
            path + ".endPort: must not be set without port");
  EXPECT_EQ(port(R"({"port": 80, "endPort": 79})"),
            path + ".endPort: must not be less than port 80, is 79");
  EXPECT_EQ(port(R"({"port": "http", "endPort": 90})"),
            path + ".port: must be a number where endPort is set, is \"http\"");
  EXPECT_EQ(port(R"({"port": 80, "endPort": 80})"), "accepted");
}

TEST(AppendixV14, policy_types_default_to_ingress) {
  const Policy policy = accepted(netpol(R"({"podSelector": {}})"));
  ASSERT_EQ(policy.specs.size(), 1U);
  EXPECT_THAT(policy.specs[0].default_deny, ElementsAre(true, false));
}

TEST(AppendixV15, an_empty_egress_list_does_not_isolate_egress) {
  const auto isolated = [](std::string_view spec) {
    return accepted(netpol(spec)).specs.at(0).default_deny;
  };
  EXPECT_THAT(isolated(R"({"podSelector": {}, "egress": []})"),
              ElementsAre(true, false));
  EXPECT_THAT(isolated(R"({"podSelector": {}, "egress": [{}]})"),
              ElementsAre(true, true));
}

TEST(AppendixV16, the_limits_of_a_cluster_network_policy) {
  const auto policy = [](int priority, int rules, const json& rule) {
    return rejection(kcnp(json{
        {"tier", "Admin"},
        {"priority", priority},
        {"subject", {{"namespaces", json::object()}}},
        {"ingress",
         json(rules, rule)}}.dump()));
  };
  const json rule =
      json::parse(R"({"action": "Accept", "from": [{"namespaces": {}}]})");
  EXPECT_EQ(policy(1000, 25, rule), "accepted");
  EXPECT_EQ(policy(1001, 1, rule),
            "spec.priority: must be from 0 to 1000, is 1001");
  EXPECT_EQ(policy(0, 26, rule),
            "spec.ingress: must have 0 to 25 elements, has 26");
  EXPECT_EQ(policy(0, 1, json::parse(R"({"action": "Accept"})")),
            "spec.ingress[0].from: must be set");
}

TEST(AppendixV17, networks_have_no_named_ports) {
  EXPECT_THAT(
      rejection(kcnp(R"({"tier": "Admin", "priority": 1,
        "subject": {"namespaces": {}},
        "egress": [{"action": "Deny", "to": [{"networks": ["10.0.0.0/8"]}],
                    "protocols": [{"destinationNamedPort": "http"}]}]})")),
      StartsWith(
          "spec.egress[0].to[0]: must not be combined with a named port"));
}

}  // namespace
}  // namespace sluice::policy::test
