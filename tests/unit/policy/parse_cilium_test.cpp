// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "tests/unit/policy/parse_helpers.h"

// What a CiliumNetworkPolicy and its cluster-wide sister become.
namespace sluice::policy::test {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr PortRange all_ports(std::uint8_t protocol) {
  return {.protocol = protocol, .first = 0, .last = 65535};
}

std::vector<PeerSelector> peers_of(std::string_view rule) {
  return only_rule(cnp_ingress(rule)).peers;
}

LabelSelector peer_of(const json& object) {
  const Rule rule = only_rule(object);
  if (rule.peers.size() != 1 ||
      !std::holds_alternative<LabelSelector>(rule.peers[0])) {
    ADD_FAILURE() << "not one label selector: " << object;
    return {};
  }
  return std::get<LabelSelector>(rule.peers[0]);
}

L4 l4_of(std::string_view rule) {
  return only_rule(cnp_ingress(rule)).l4;
}

L4 l4_of_port(const std::string& port) {
  return l4_of(R"({"toPorts": [{"ports": [)" + port + "]}]}");
}

// ---- identity of the policy ------------------------------------------------

TEST(Cilium, key_and_tier) {
  const Policy policy = accepted(cnp_ingress("{}"));
  EXPECT_EQ(policy.key.kind, "CiliumNetworkPolicy");
  EXPECT_EQ(policy.key.ns, "x");
  EXPECT_EQ(policy.key.name, "p");
  EXPECT_EQ(policy.tier, Tier::kNormal);
  EXPECT_EQ(policy.priority, 0);
}

TEST(Cilium, a_clusterwide_policy_has_no_namespace) {
  json object = ccnp(R"({"endpointSelector": {}, "ingress": [{}]})");
  EXPECT_EQ(accepted(object).key.ns, "");
  object["metadata"]["namespace"] = "x";
  const Policy policy = accepted(object);
  EXPECT_EQ(policy.key.ns, "");
  EXPECT_THAT(policy.warnings, ElementsAre(HasSubstr("metadata.namespace")));
}

TEST(Cilium, without_a_namespace_it_is_in_default) {
  json object = cnp_ingress("{}");
  object["metadata"].erase("namespace");
  EXPECT_EQ(accepted(object).key.ns, "default");
}

TEST(Cilium, spec_and_specs_both_count_and_paths_tell_them_apart) {
  json object = cnp_ingress("{}");
  object["specs"] = json::parse(
      R"([{"endpointSelector": {}, "egress": [{}]},
          {"endpointSelector": {}, "ingressDeny": [{}, {}]}])");
  const Policy policy = accepted(object);
  ASSERT_EQ(policy.specs.size(), 3U);
  EXPECT_EQ(policy.specs[0].rules[0].path, "spec.ingress[0]");
  EXPECT_EQ(policy.specs[1].rules[0].path, "specs[0].egress[0]");
  EXPECT_EQ(policy.specs[2].rules[1].path, "specs[1].ingressDeny[1]");
}

TEST(Cilium, sections_give_direction_and_action) {
  const Policy policy = accepted(cnp(
      R"({"endpointSelector": {}, "ingress": [{}], "ingressDeny": [{}],
          "egress": [{}], "egressDeny": [{}]})"));
  ASSERT_EQ(policy.specs.size(), 1U);
  std::vector<std::pair<Direction, Action>> found;
  for (const Rule& rule : policy.specs[0].rules) {
    found.emplace_back(rule.direction, rule.action);
  }
  EXPECT_THAT(found, ElementsAre(std::pair(Direction::kIngress, Action::kAllow),
                                 std::pair(Direction::kIngress, Action::kDeny),
                                 std::pair(Direction::kEgress, Action::kAllow),
                                 std::pair(Direction::kEgress, Action::kDeny)));
}

TEST(Cilium, log_value_and_metadata_are_kept_or_ignored) {
  const Policy policy = accepted(
      cnp(R"({"endpointSelector": {}, "ingress": [{}], "description": "d",
              "labels": [{"key": "a", "source": "k8s", "value": "b"}],
              "log": {"value": "audit-1"}})"));
  EXPECT_TRUE(policy.specs.at(0).log);
  EXPECT_EQ(policy.specs.at(0).log_value, "audit-1");
  EXPECT_FALSE(accepted(cnp_ingress("{}")).specs.at(0).log);
}

// ---- default deny
// -------------------------------------------------------------

struct DefaultDeny {
  const char* sections;
  bool ingress;
  bool egress;
};
class CiliumDefaultDeny : public testing::TestWithParam<DefaultDeny> {};

TEST_P(CiliumDefaultDeny, follows_the_sections) {
  const Policy policy = accepted(cnp(R"({"endpointSelector": {}, )" +
                                     std::string(GetParam().sections) + "}"));
  EXPECT_THAT(policy.specs.at(0).default_deny,
              ElementsAre(GetParam().ingress, GetParam().egress));
}

INSTANTIATE_TEST_SUITE_P(
    sections, CiliumDefaultDeny,
    testing::Values(
        DefaultDeny{R"("ingress": [{}])", true, false},
        DefaultDeny{R"("egress": [{}])", false, true},
        DefaultDeny{R"("ingress": [], "egress": [{}])", false, true},
        DefaultDeny{R"("ingressDeny": [{}])", true, false},
        DefaultDeny{
            R"("ingressDeny": [{}], "enableDefaultDeny": {"ingress": false})",
            false, false},
        DefaultDeny{R"("ingress": [{}], "enableDefaultDeny": {"egress": true})",
                    true, false},
        DefaultDeny{R"("ingress": [{}], "egressDeny": [{}],
                       "enableDefaultDeny": {"ingress": false, "egress": true})",
                    false, true}));

TEST(Cilium, a_policy_that_only_denies_warns_that_it_isolates) {
  const auto warnings = [](const std::string& more) {
    return accepted(cnp(
                        R"({"endpointSelector": {}, "ingressDeny":
                        [{"fromEntities": ["world"]}])" +
                        more + "}"))
        .warnings;
  };
  EXPECT_THAT(warnings(""), ElementsAre(HasSubstr("isolated")));
  EXPECT_THAT(warnings(R"(, "ingress": [{}])"), IsEmpty());
  EXPECT_THAT(warnings(R"(, "enableDefaultDeny": {"ingress": false})"),
              IsEmpty());
}

// ---- subjects
// -----------------------------------------------------------------

LabelSelector subject_of(const json& object) {
  return accepted(object).specs.at(0).subject;
}

TEST(CiliumSubject, is_of_the_own_namespace) {
  EXPECT_EQ(subject_of(cnp(
                R"({"endpointSelector": {"matchLabels": {"k8s:app": "web"}},
                    "ingress": [{}]})")),
            (LabelSelector{{in("app", {"web"}), in_namespace("x")}}));
}

TEST(CiliumSubject,
     a_foreign_namespace_that_is_not_overwritten_selects_nobody) {
  for (const char* selector :
       {R"({"matchLabels": {"io.kubernetes.pod.namespace": "y"}})",
        R"({"matchLabels": {"any:io.kubernetes.pod.namespace": "y"}})",
        R"({"matchExpressions": [{"key": "k8s:io.kubernetes.pod.namespace",
                                  "operator": "In", "values": ["y"]}]})"}) {
    const Policy policy =
        accepted(cnp(R"({"endpointSelector": )" + std::string(selector) +
                     R"(, "ingress": [{}]})"));
    EXPECT_EQ(policy.specs.at(0).subject,
              (LabelSelector{{in_namespace("x"), in_namespace("y")}}));
    EXPECT_THAT(policy.warnings, ElementsAre(HasSubstr("nothing")));
  }
}

TEST(CiliumSubject, of_a_clusterwide_policy_is_not_scoped) {
  EXPECT_EQ(subject_of(ccnp(R"({"endpointSelector": {}, "ingress": [{}]})")),
            LabelSelector{});
}

TEST(CiliumSubject, with_labels_of_another_source_warns) {
  for (const char* key : {"reserved:init", "container:app"}) {
    const Policy policy =
        accepted(cnp(R"({"endpointSelector": {"matchLabels": {")" +
                     std::string(key) + R"(": ""}}, "ingress": [{}]})"));
    EXPECT_THAT(policy.warnings, ElementsAre(HasSubstr("selects nothing")));
  }
}

// ---- peers
// --------------------------------------------------------------------

TEST(CiliumPeer, is_of_the_own_namespace_and_cluster) {
  EXPECT_EQ(peer_of(cnp_ingress(R"({"fromEndpoints": [{}]})")),
            (LabelSelector{{in_cluster(), in_namespace("x")}}));
  EXPECT_EQ(
      peer_of(cnp_egress(
          R"({"toEndpoints": [{"matchLabels": {"any:app": "db"}}]})")),
      (LabelSelector{{in("app", {"db"}), in_cluster(), in_namespace("x")}}));
}

TEST(CiliumPeer, of_a_clusterwide_policy_is_of_any_namespace) {
  const auto peer = [](std::string_view subject, std::string_view selector) {
    return peer_of(ccnp(R"({"endpointSelector": )" + std::string(subject) +
                        R"(, "ingress": [{"fromEndpoints": [)" +
                        std::string(selector) + "]}]}"));
  };
  EXPECT_EQ(peer("{}", "{}"), (LabelSelector{{in_cluster(), any_namespace()}}));
  EXPECT_EQ(
      peer("{}", R"({"matchLabels": {"io.kubernetes.pod.namespace": "y"}})"),
      (LabelSelector{{in_cluster(), in_namespace("y")}}));
  EXPECT_EQ(peer(R"({"matchExpressions":
                      [{"key": "reserved:init", "operator": "DoesNotExist"}]})",
                 "{}"),
            (LabelSelector{{in_cluster()}}));
}

TEST(CiliumPeer, a_namespace_key_of_any_sign_replaces_the_own_namespace) {
  EXPECT_EQ(peer_of(cnp_ingress(R"({"fromEndpoints": [{"matchExpressions":
                [{"key": "k8s:io.kubernetes.pod.namespace",
                  "operator": "NotIn", "values": ["dev"]}]}]})")),
            (LabelSelector{{in_cluster(),
                            not_in("io.kubernetes.pod.namespace", {"dev"})}}));
  EXPECT_EQ(
      peer_of(cnp_ingress(R"({"fromEndpoints": [{"matchExpressions":
                [{"key": "any:io.kubernetes.pod.namespace",
                  "operator": "DoesNotExist"}]}]})")),
      (LabelSelector{{in_cluster(), missing("io.kubernetes.pod.namespace")}}));
}

TEST(CiliumPeer, a_namespace_label_replaces_the_own_namespace) {
  const std::string key =
      "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name";
  EXPECT_EQ(peer_of(cnp_ingress(R"({"fromEndpoints": [{"matchLabels": {"k8s:)" +
                                key + R"(": "y"}}]})")),
            (LabelSelector{{in(key, {"y"}), in_cluster()}}));
}

TEST(CiliumPeer, a_cluster_key_replaces_the_own_cluster) {
  EXPECT_EQ(peer_of(cnp_ingress(R"({"fromEndpoints": [{"matchLabels":
                {"io.cilium.k8s.policy.cluster": "other"}}]})")),
            (LabelSelector{{in("io.cilium.k8s.policy.cluster", {"other"}),
                            in_namespace("x")}}));
}

TEST(CiliumPeer, a_reserved_key_is_scoped_to_nothing) {
  EXPECT_EQ(peer_of(cnp_ingress(R"({"fromEndpoints": [{"matchExpressions":
                [{"key": "reserved:host", "operator": "DoesNotExist"}]}]})")),
            (LabelSelector{{missing("reserved:host")}}));
  EXPECT_EQ(
      peer_of(cnp_ingress(
          R"({"fromEndpoints": [{"matchLabels": {"reserved:host": ""}}]})")),
      (LabelSelector{{in("reserved:host", {""})}}));
}

TEST(CiliumPeer, expressions_are_sorted_and_without_doubles) {
  EXPECT_EQ(peer_of(cnp_ingress(R"({"fromEndpoints": [{
                "matchLabels": {"b": "1", "any:b": "1"},
                "matchExpressions": [
                  {"key": "a", "operator": "In", "values": ["2", "1", "2"]},
                  {"key": "c", "operator": "Exists"}]}]})")),
            (LabelSelector{{in("a", {"1", "2"}), in("b", {"1"}), exists("c"),
                            in_cluster(), in_namespace("x")}}));
}

// ---- which peers a rule has
// -----------------------------------------------------

struct L3 {
  const char* rule;
  bool any_peer;
  std::size_t peers;
};
class CiliumL3 : public testing::TestWithParam<L3> {};

TEST_P(CiliumL3, absent_empty_and_set) {
  const Rule rule = only_rule(cnp_ingress(GetParam().rule));
  EXPECT_EQ(rule.any_peer, GetParam().any_peer) << GetParam().rule;
  EXPECT_EQ(rule.peers.size(), GetParam().peers) << GetParam().rule;
}

INSTANTIATE_TEST_SUITE_P(
    lists, CiliumL3,
    testing::Values(
        L3{"{}", false, 0}, L3{R"({"toPorts": []})", false, 0},
        L3{R"({"icmps": []})", false, 0},
        L3{R"({"toPorts": [{"ports": [{"port": "80"}]}]})", true, 0},
        L3{R"({"toPorts": [{"ports": []}]})", true, 0},
        L3{R"({"icmps": [{"fields": [{"type": 8}]}]})", true, 0},
        L3{R"({"fromEndpoints": []})", false, 0},
        L3{R"({"fromEndpoints": [], "toPorts": [{"ports": [{"port": "80"}]}]})",
           false, 0},
        L3{R"({"fromEndpoints": [], "fromCIDR": ["10.0.0.0/8"]})", false, 0},
        L3{R"({"fromCIDR": ["10.0.0.0/8"], "fromEntities": []})", false, 0},
        L3{R"({"fromEntities": ["all"], "fromCIDRSet": []})", false, 0},
        L3{R"({"fromNodes": []})", false, 0},
        L3{R"({"fromNodes": [], "toPorts": [{"ports": [{"port": "80"}]}]})",
           false, 0},
        L3{R"({"fromEntities": ["all"]})", true, 0},
        L3{R"({"fromEntities": ["host", "all"]})", true, 0},
        L3{R"({"fromEntities": ["none"]})", false, 0},
        L3{R"({"fromEntities": ["none", "world"]})", false, 1},
        L3{R"({"fromCIDR": ["10.0.0.0/8", "fd00::/8"]})", false, 2}));

TEST(CiliumEntities, each_name) {
  EXPECT_THAT(
      peers_of(R"({"fromEntities": ["world", "cluster", "host", "remote-node",
                 "kube-apiserver", "health", "init", "unmanaged", "ingress"]})"),
      ElementsAre(
          PeerSelector(Entity::kWorld), PeerSelector(Entity::kCluster),
          PeerSelector(Entity::kHost), PeerSelector(Entity::kRemoteNode),
          PeerSelector(Entity::kKubeApiserver), PeerSelector(Entity::kHealth),
          PeerSelector(Entity::kInit), PeerSelector(Entity::kUnmanaged),
          PeerSelector(Entity::kIngress)));
}

TEST(CiliumEntities, those_of_which_there_are_none_are_warned_of) {
  for (const char* name : {"health", "init", "unmanaged", "ingress"}) {
    const auto policy = accepted(cnp(
        R"({"endpointSelector": {}, "ingress": [{"fromEntities": ["world", ")" +
        std::string(name) + R"("]}]})"));
    EXPECT_THAT(
        policy.warnings,
        ElementsAre("spec.ingress[0].fromEntities[1]: \"" + std::string(name) +
                    "\" matches nothing: only Cilium has such peers"));
  }
}

TEST(CiliumCidr, host_bits_are_cleared_and_only_external_addresses_match) {
  EXPECT_THAT(
      peers_of(R"({"fromCIDR": ["203.0.113.77/24"]})"),
      ElementsAre(PeerSelector(CidrPeer{.cidr = *parse_prefix("203.0.113.0/24"),
                                        .external_only = true})));
}

TEST(CiliumCidr, excepts_are_sorted_and_stay_with_their_cidr) {
  EXPECT_THAT(
      peers_of(R"({"fromCIDRSet": [
        {"cidr": "10.0.0.0/8", "except": ["10.2.3.4/16", "10.1.0.0/16"]},
        {"cidr": "2001:db8::/32"}]})"),
      ElementsAre(
          PeerSelector(CidrPeer{.cidr = *parse_prefix("10.0.0.0/8"),
                                .except = {*parse_prefix("10.1.0.0/16"),
                                           *parse_prefix("10.2.0.0/16")},
                                .external_only = true}),
          PeerSelector(CidrPeer{.cidr = *parse_prefix("2001:db8::/32"),
                                .external_only = true})));
}

TEST(CiliumCidr, groups_by_name_and_by_labels) {
  EXPECT_THAT(
      peers_of(R"({"fromCIDRSet": [
        {"cidrGroupRef": "partners", "except": ["10.0.0.0/8"]},
        {"cidrGroupSelector": {"matchLabels": {"cidrgroup:zone": "a"}}},
        {"cidrGroupSelector": {}}]})"),
      ElementsAre(
          PeerSelector(CidrGroupPeer{.name = "partners",
                                     .except = {*parse_prefix("10.0.0.0/8")}}),
          PeerSelector(
              CidrGroupPeer{.selector = LabelSelector{{in("zone", {"a"})}}}),
          PeerSelector(CidrGroupPeer{.selector = LabelSelector{}})));
}

// ---- Services
// ---------------------------------------------------------------------

TEST(CiliumServices, by_name_and_by_labels) {
  const Rule rule = only_rule(cnp_egress(R"({"toServices": [
      {"k8sService": {"serviceName": "dns", "namespace": "kube-system"}},
      {"k8sService": {"serviceName": "web"}},
      {"k8sServiceSelector": {"selector": {"matchLabels": {"k8s:a": "b"}}}}],
      "toPorts": [{"ports": [{"port": "53", "protocol": "UDP"}]}]})"));
  EXPECT_FALSE(rule.any_peer);
  EXPECT_THAT(
      rule.peers,
      ElementsAre(
          PeerSelector(ServicePeer{.ns = "kube-system", .name = "dns"}),
          PeerSelector(ServicePeer{.ns = "x", .name = "web"}),
          PeerSelector(ServicePeer{
              .ns = "x", .selector = LabelSelector{{in("a", {"b"})}}})));
  EXPECT_THAT(
      only_rule(ccnp(R"({"endpointSelector": {}, "egress": [
      {"toServices": [{"k8sServiceSelector": {"selector": {}}}]}]})"))
          .peers,
      ElementsAre(PeerSelector(ServicePeer{.selector = LabelSelector{}})));
}

TEST(CiliumServices, says_what_is_wrong) {
  EXPECT_EQ(rejection(cnp_egress(R"({"toServices": [{}]})")),
            "spec.egress[0].toServices[0]: must have exactly one of "
            "k8sService, k8sServiceSelector");
  EXPECT_EQ(rejection(cnp_egress(R"({"toServices": [{"k8sService": {}}]})")),
            "spec.egress[0].toServices[0].k8sService.serviceName: must be set");
  EXPECT_EQ(
      rejection(cnp_egress(R"({"toServices": [{"k8sServiceSelector": {}}]})")),
      "spec.egress[0].toServices[0].k8sServiceSelector.selector: must "
      "be set");
  EXPECT_EQ(rejection(ccnp(R"({"endpointSelector": {}, "egress": [
      {"toServices": [{"k8sService": {"serviceName": "dns"}}]}]})")),
            "spec.egress[0].toServices[0].k8sService: namespace must be set in "
            "a cluster-wide policy");
  EXPECT_EQ(
      rejection(cnp_egress(
          R"({"toEndpoints": [{}],
              "toServices": [{"k8sService": {"serviceName": "dns"}}]})")),
      "spec.egress[0]: combining toEndpoints and toServices is not supported");
  EXPECT_NE(rejection(cnp_ingress(
                R"({"toServices": [{"k8sService": {"serviceName": "a"}}]})")),
            "accepted");
}

// ---- ports
// ------------------------------------------------------------------------

TEST(CiliumPorts, an_l3_only_rule_covers_every_protocol) {
  EXPECT_EQ(l4_of(R"({"fromEndpoints": [{}]})"), L4{.any = true});
  EXPECT_EQ(l4_of(R"({"fromEndpoints": [{}], "toPorts": []})"),
            L4{.any = true});
}

TEST(CiliumPorts, a_port_rule_without_ports_matches_nothing) {
  EXPECT_EQ(l4_of(R"({"toPorts": [{"ports": []}]})"), L4{});
  EXPECT_EQ(l4_of(R"({"toPorts": [{}]})"), L4{});
}

TEST(CiliumPorts, without_a_protocol_all_with_ports_are_meant) {
  for (const char* port :
       {R"({"port": "53"})", R"({"port": "53", "protocol": "ANY"})"}) {
    EXPECT_THAT(l4_of_port(port).ranges,
                ElementsAre(PortRange{IPPROTO_TCP, 53, 53},
                            PortRange{IPPROTO_UDP, 53, 53},
                            PortRange{IPPROTO_SCTP, 53, 53}));
  }
  EXPECT_THAT(l4_of_port(R"({"port": "0"})").ranges,
              ElementsAre(all_ports(IPPROTO_TCP), all_ports(IPPROTO_UDP),
                          all_ports(IPPROTO_SCTP)));
}

struct Range {
  const char* port;
  int end_port;
  std::uint16_t first;
  std::uint16_t last;
};
class CiliumRange : public testing::TestWithParam<Range> {};

TEST_P(CiliumRange, of_tcp) {
  const json port{{"port", GetParam().port},
                  {"protocol", "TCP"},
                  {"endPort", GetParam().end_port}};
  EXPECT_THAT(
      l4_of_port(port.dump()).ranges,
      ElementsAre(PortRange{IPPROTO_TCP, GetParam().first, GetParam().last}));
}

INSTANTIATE_TEST_SUITE_P(
    ends, CiliumRange,
    testing::Values(Range{"1000", 2000, 1000, 2000},
                    Range{"3000", 3000, 3000, 3000},
                    Range{"4000", 3999, 4000, 4000}, Range{"80", 0, 80, 80},
                    Range{"0", 0, 0, 65535}, Range{"0", 65535, 0, 65535},
                    Range{"0", 1023, 0, 1023}, Range{"0120", 0, 80, 80},
                    Range{"010", 16, 8, 16}, Range{"00", 0, 0, 65535},
                    Range{"65535", 65535, 65535, 65535}));

TEST(CiliumPorts, names_are_lower_case_and_may_begin_a_range) {
  EXPECT_THAT(
      l4_of_port(R"({"port": "DNS-TCP"}, {"port": "http", "protocol": "TCP",
                     "endPort": 8090}, {"port": "0x50", "protocol": "UDP"})")
          .named,
      ElementsAre(
          NamedPort{.name = "0x50", .protocol = IPPROTO_UDP},
          NamedPort{.name = "dns-tcp", .protocol = 0},
          NamedPort{
              .name = "http", .protocol = IPPROTO_TCP, .end_port = 8090}));
}

TEST(CiliumPorts, doubles_are_removed) {
  EXPECT_THAT(l4_of_port(R"({"port": "80", "protocol": "TCP"},
                            {"port": "80", "protocol": "TCP"})")
                  .ranges,
              ElementsAre(PortRange{IPPROTO_TCP, 80, 80}));
}

// ---- ICMP
// ---------------------------------------------------------------------------

L4 l4_of_icmp(const std::string& fields) {
  return l4_of(R"({"icmps": [{"fields": [)" + fields + "]}]}");
}

TEST(CiliumIcmp, a_type_covers_all_its_codes) {
  EXPECT_EQ(l4_of_icmp(R"({"type": 8})"),
            (L4{.ranges = {{IPPROTO_ICMP, 0x0800, 0x08ff}}}));
  EXPECT_EQ(l4_of_icmp(R"({"type": "128", "family": "IPv6"})"),
            (L4{.ranges = {{IPPROTO_ICMPV6, 0x8000, 0x80ff}}}));
}

TEST(CiliumIcmp, type_0_is_the_echo_reply_and_nothing_else) {
  for (const char* type : {"0", R"("0")", R"("EchoReply")"}) {
    EXPECT_EQ(l4_of_icmp(R"({"type": )" + std::string(type) + "}"),
              (L4{.ranges = {{IPPROTO_ICMP, 0, 0xff}}}));
  }
}

TEST(CiliumIcmp, names_depend_on_the_family) {
  EXPECT_EQ(l4_of_icmp(R"({"type": "TimeExceeded", "family": "IPv4"},
                          {"type": "TimeExceeded", "family": "IPv6"})"),
            (L4{.ranges = {{IPPROTO_ICMP, 0x0b00, 0x0bff},
                           {IPPROTO_ICMPV6, 0x0300, 0x03ff}}}));
  EXPECT_THAT(rejection(cnp_ingress(
                  R"({"icmps": [{"fields": [{"type": "PacketTooBig"}]}]})")),
              HasSubstr("not an ICMP type of IPv4"));
}

TEST(CiliumIcmp, a_type_that_no_packet_has_matches_nothing) {
  const Policy policy =
      accepted(cnp_ingress(R"({"icmps": [{"fields": [{"type": 256}]}]})"));
  EXPECT_EQ(policy.specs.at(0).rules.at(0).l4, L4{});
  EXPECT_THAT(policy.warnings, Contains(HasSubstr("ICMP type 256")));
}

// ---- what is asked for and does nothing
// ------------------------------------------------

TEST(Cilium, authentication_that_is_disabled_changes_nothing) {
  EXPECT_EQ(
      only_rule(cnp_ingress(
          R"({"fromEndpoints": [{}], "authentication": {"mode": "disabled"}})")),
      only_rule(cnp_ingress(R"({"fromEndpoints": [{}]})")));
}

TEST(Cilium, specs_without_an_element_do_nothing_and_warn) {
  json object = cnp_ingress("{}");
  object.erase("spec");
  object["specs"] = json::array();
  const Policy policy = accepted(object);
  EXPECT_THAT(policy.specs, IsEmpty());
  EXPECT_THAT(policy.warnings, ElementsAre(HasSubstr("does nothing")));
}

}  // namespace
}  // namespace sluice::policy::test
