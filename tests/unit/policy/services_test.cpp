// SPDX-License-Identifier: Apache-2.0
// What egress policy says of the addresses of Services.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/policy/model.h"
#include "lib/policy/translator.h"

namespace sluice::policy {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;

IpAddress ip(const std::string& text) {
  return *parse_ip(text);
}

LabelSelector app(const std::string& value) {
  return {{{.key = "app", .op = Requirement::Op::kIn, .values = {value}},
           {.key = "io.kubernetes.pod.namespace",
            .op = Requirement::Op::kIn,
            .values = {"x"}}}};
}

kube::Pod pod(const std::string& name, const std::string& app_label,
              const std::string& address, const std::string& node = "n1") {
  kube::Pod result;
  result.ns = "x";
  result.name = name;
  result.labels = {{"app", app_label}};
  result.node = node;
  result.service_account = "default";
  result.ips = {ip(address)};
  result.ports = {{.name = "dns", .port = 5353, .protocol = kUdp}};
  return result;
}

kube::Service dns() {
  kube::Service result;
  result.ns = "x";
  result.name = "dns";
  result.labels = {{"kind", "infra"}};
  result.selector = {{"app", "dns"}};
  result.cluster_ips = {ip("10.96.0.10")};
  result.ports = {{.name = "udp",
                   .protocol = kUdp,
                   .port = 53,
                   .target_port = 0,
                   .target_name = "dns",
                   .node_port = 30053}};
  return result;
}

kube::EndpointSlice slice(std::vector<kube::SliceEndpoint> endpoints) {
  return {.ns = "x",
          .name = "dns-1",
          .service = "dns",
          .ports = {{.name = "udp", .protocol = kUdp, .port = 5353}},
          .endpoints = std::move(endpoints)};
}

Policy egress(std::vector<PeerSelector> peers, L4 l4 = {.any = true},
              Action action = Action::kAllow, const std::string& name = "p") {
  Rule rule;
  rule.direction = Direction::kEgress;
  rule.action = action;
  rule.any_peer = peers.empty();
  rule.peers = std::move(peers);
  rule.l4 = std::move(l4);
  rule.path = "spec.egress[0]";
  Spec spec;
  spec.subject = app("client");
  spec.default_deny = {false, action == Action::kAllow};
  spec.rules = {rule};
  Policy result;
  result.key = {.kind = "CiliumNetworkPolicy", .ns = "x", .name = name};
  result.specs = {spec};
  return result;
}

L4 udp(std::uint16_t port) {
  return {.ranges = {{.protocol = kUdp, .first = port, .last = port}}};
}

class ServicesTest : public testing::Test {
 protected:
  void SetUp() override {
    t.set(kube::Namespace{.name = "x", .labels = {}, .annotations = {}});
    t.set(kube::Node{.name = "n1", .labels = {}, .ips = {ip("10.0.255.1")}});
    t.set(kube::Node{.name = "n2", .labels = {}, .ips = {ip("10.0.255.2")}});
    t.set(pod("client", "client", "10.0.0.1"));
    t.set(pod("dns-a", "dns", "10.0.0.2"));
    t.set(pod("dns-b", "dns", "10.0.0.3", "n2"));
    t.set(pod("other", "other", "10.0.0.4"));
    t.set(dns());
  }
  // Egress from the client.
  bool allowed(const std::string& to, std::uint16_t port,
               std::uint8_t protocol = kUdp) {
    const Model model(t.snapshot("n1"));
    return model
        .lookup(*model.endpoint("x/client"), Direction::kEgress, ip(to),
                protocol, port)
        .allowed;
  }
  std::optional<Translator::Answer> explain(const std::string& to,
                                            std::uint16_t port) {
    return t.explain({.subject = "x/client",
                      .direction = Direction::kEgress,
                      .peer = ip(to),
                      .protocol = kUdp,
                      .port = port});
  }
  Translator t;
};

TEST_F(ServicesTest, RuleForThePodsWorksThroughTheServicesAddress) {
  t.set(egress({app("dns")}, udp(5353)));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  EXPECT_FALSE(allowed("10.96.0.10", 53, kTcp));
  EXPECT_FALSE(allowed("10.96.0.10", 5353));
  EXPECT_FALSE(allowed("10.96.0.11", 53));
}

TEST_F(ServicesTest, PolicyIsAboutTheTargetPort) {
  t.set(egress({app("dns")}, udp(53)));
  EXPECT_FALSE(allowed("10.96.0.10", 53));
}

TEST_F(ServicesTest, RuleForAnyPeerIsAboutTheTargetPortToo) {
  t.set(egress({}, udp(53)));
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  EXPECT_TRUE(allowed("10.0.0.4", 53));
  t.set(egress({}, udp(5353)));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
}

TEST_F(ServicesTest, CidrDoesNotLetTheServiceAroundItsBackends) {
  const CidrPeer services{.cidr = *parse_prefix("10.96.0.0/12"),
                          .external_only = true};
  t.set(egress({services}));
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  // Ports that the Service does not have are the address's own affair.
  EXPECT_TRUE(allowed("10.96.0.10", 54));
  EXPECT_TRUE(allowed("10.96.0.11", 53));
}

TEST_F(ServicesTest, EveryReadyBackendMustBeAllowed) {
  t.set(slice({{.addresses = {ip("10.0.0.2")}}}));
  t.set(egress({app("dns")}));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  t.set(slice(
      {{.addresses = {ip("10.0.0.2")}}, {.addresses = {ip("10.0.0.4")}}}));
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  t.set(slice(
      {{.addresses = {ip("10.0.0.2")}},
       {.addresses = {ip("10.0.0.4")}, .ready = false, .serving = false}}));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
}

TEST_F(ServicesTest, WithoutReadyBackendsThoseThatEndCount) {
  t.set(egress({app("dns")}));
  t.set(slice(
      {{.addresses = {ip("10.0.0.4")},
        .ready = false,
        .serving = true,
        .terminating = true},
       {.addresses = {ip("10.0.0.2")}, .ready = false, .serving = false}}));
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  // None that serves: those that are known, for connections that stand.
  t.set(slice(
      {{.addresses = {ip("10.0.0.2")}, .ready = false, .serving = false}}));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
}

TEST_F(ServicesTest, WithoutEndpointsAnIsolatedPodIsDenied) {
  const CidrPeer world{.cidr = *parse_prefix("0.0.0.0/0"),
                       .external_only = true};
  t.set(egress({world}));
  t.set(slice({}));
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  EXPECT_TRUE(allowed("10.96.0.10", 80));
  t.remove_policy({.kind = "CiliumNetworkPolicy", .ns = "x", .name = "p"});
  EXPECT_TRUE(allowed("10.96.0.10", 53));
}

TEST_F(ServicesTest, DenyOfABackendDeniesTheService) {
  t.set(egress({}));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  t.set(egress({app("dns")}, udp(5353), Action::kDeny, "deny"));
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  // Without isolation too.
  t.remove_policy({.kind = "CiliumNetworkPolicy", .ns = "x", .name = "p"});
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  EXPECT_TRUE(allowed("10.96.0.10", 54));
}

TEST_F(ServicesTest, BackendsFollowThePodsWhereThereAreNoSlices) {
  t.set(egress({app("dns")}));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  auto relabelled = pod("other", "dns", "10.0.0.4");
  relabelled.labels["role"] = "x";
  t.set(relabelled);
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  auto service = dns();
  service.selector = {{"role", "x"}};
  t.set(service);
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  relabelled.labels["app"] = "other";
  t.set(relabelled);
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  t.remove_pod("x", "other");
  EXPECT_FALSE(allowed("10.96.0.10", 53));  // nobody is left
}

TEST_F(ServicesTest, EveryAddressOfTheServiceCounts) {
  auto service = dns();
  service.cluster_ips = {ip("10.96.0.10"), ip("fd00::10")};
  service.external_ips = {ip("192.0.2.1")};
  service.load_balancer_ips = {ip("192.0.2.2")};
  t.set(service);
  t.set(egress({app("dns")}));
  EXPECT_TRUE(allowed("192.0.2.1", 53));
  EXPECT_TRUE(allowed("192.0.2.2", 53));
  EXPECT_FALSE(allowed("fd00::10", 53));  // no backend of that family
}

TEST_F(ServicesTest, NodePortsStandForTheBackends) {
  t.set(egress({app("dns")}));
  EXPECT_TRUE(allowed("10.0.255.1", 30053));
  EXPECT_TRUE(allowed("10.0.255.2", 30053));
  EXPECT_FALSE(allowed("10.0.255.2", 53));
  t.set(egress({Entity::kRemoteNode, Entity::kHost}));
  EXPECT_FALSE(allowed("10.0.255.1", 30053));
  EXPECT_FALSE(allowed("10.0.255.2", 30053));
  EXPECT_TRUE(allowed("10.0.255.2", 53));
}

TEST_F(ServicesTest, HeadlessServiceHasNoAddress) {
  auto service = dns();
  service.headless = true;
  t.set(service);
  t.set(egress({app("dns")}));
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  EXPECT_TRUE(allowed("10.0.0.2", 5353));
}

TEST_F(ServicesTest, ServiceThatGoesLeavesThePlainAddress) {
  const CidrPeer services{.cidr = *parse_prefix("10.96.0.0/12"),
                          .external_only = true};
  t.set(egress({services}));
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  t.remove_service("x", "dns");
  EXPECT_TRUE(allowed("10.96.0.10", 53));
}

TEST_F(ServicesTest, BackendThatGivesWayToAnotherPodIsJudgedAnew) {
  t.set(slice({{.addresses = {ip("10.0.0.2")}}}));
  t.set(egress({app("dns")}));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  t.remove_pod("x", "dns-a");
  t.set(pod("late", "other", "10.0.0.2"));
  EXPECT_FALSE(allowed("10.96.0.10", 53));
}

TEST_F(ServicesTest, ToServicesMeansThePodsThatTheServiceSelects) {
  t.set(egress({ServicePeer{.ns = "x", .name = "dns", .selector = {}}}));
  EXPECT_TRUE(allowed("10.0.0.2", 5353));
  EXPECT_TRUE(allowed("10.0.0.3", 80, kTcp));
  EXPECT_FALSE(allowed("10.0.0.4", 5353));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  auto service = dns();
  service.selector = {{"app", "other"}};
  t.set(service);
  EXPECT_FALSE(allowed("10.0.0.2", 5353));
  EXPECT_TRUE(allowed("10.0.0.4", 5353));
  t.remove_service("x", "dns");
  EXPECT_FALSE(allowed("10.0.0.4", 5353));
}

TEST_F(ServicesTest, ToServicesByLabelsFollowsTheLabels) {
  const LabelSelector infra{
      {{.key = "kind", .op = Requirement::Op::kIn, .values = {"infra"}}}};
  t.set(egress({ServicePeer{.ns = "x", .name = {}, .selector = infra}},
               udp(5353)));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  auto service = dns();
  service.labels = {};
  t.set(service);
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  EXPECT_FALSE(allowed("10.0.0.2", 5353));
}

TEST_F(ServicesTest, ToServicesWithoutSelectorMeansTheEndpointsOutside) {
  auto service = dns();
  service.selector = {};
  t.set(service);
  t.set(slice({{.addresses = {ip("203.0.113.9")}}}));
  t.set(egress({ServicePeer{.ns = "x", .name = "dns", .selector = {}}}));
  EXPECT_TRUE(allowed("203.0.113.9", 5353));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  EXPECT_FALSE(allowed("203.0.113.8", 5353));
  // A pod behind it is not selected.
  t.set(slice({{.addresses = {ip("10.0.0.4")}}}));
  EXPECT_FALSE(allowed("10.0.0.4", 5353));
  EXPECT_FALSE(allowed("203.0.113.9", 5353));
}

TEST_F(ServicesTest, ExplainSaysWhichBackendIsNotAllowed) {
  t.set(slice(
      {{.addresses = {ip("10.0.0.2")}}, {.addresses = {ip("10.0.0.4")}}}));
  t.set(egress({app("dns")}));
  const auto answer = explain("10.96.0.10", 53);
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->allowed);
  EXPECT_THAT(answer->services, ElementsAre("x/dns"));
  ASSERT_THAT(answer->backends, SizeIs(2));
  EXPECT_EQ(answer->backends[0].address, ip("10.0.0.4"));
  EXPECT_EQ(answer->backends[0].port, 5353);
  EXPECT_EQ(answer->backends[0].pod, "x/other");
  EXPECT_FALSE(answer->backends[0].allowed);
  EXPECT_TRUE(answer->backends[1].allowed);
  EXPECT_EQ(answer->backends[1].decided.policy, "CiliumNetworkPolicy/x/p");
  const auto plain = explain("10.0.0.2", 53);
  ASSERT_TRUE(plain);
  EXPECT_THAT(plain->backends, IsEmpty());
}

TEST_F(ServicesTest, ServiceThatNoRuleLooksAtCostsNothing) {
  t.set(egress({app("nobody")}));
  t.watch_node("n1");
  t.take("n1");
  t.set(slice({{.addresses = {ip("10.0.0.2")}}}));
  EXPECT_TRUE(t.take("n1").empty());
  for (const auto& peer : t.snapshot("n1").peers) {
    EXPECT_NE(peer.prefix.address, ip("10.96.0.10"));
  }
}

TEST_F(ServicesTest, EndpointOfTheSameKindChangesNoEntry) {
  t.set(slice({{.addresses = {ip("10.0.0.2")}}}));
  t.set(egress({app("dns")}));
  t.watch_node("n1");
  t.take("n1");
  t.set(slice(
      {{.addresses = {ip("10.0.0.2")}}, {.addresses = {ip("10.0.0.3")}}}));
  EXPECT_TRUE(t.take("n1").empty());
}

Policy isolate_dns_pods() {
  auto policy = egress({app("other")}, {.any = true}, Action::kAllow, "own");
  policy.specs[0].subject = app("dns");
  return policy;
}

// A pod's policy set and what it says of the Service's port.
std::pair<std::uint32_t, bool> from(const Translator& t,
                                    const std::string& name,
                                    const std::string& node,
                                    const std::string& to = "10.96.0.10",
                                    std::uint16_t port = 53) {
  const Model model(t.snapshot(node));
  const auto* endpoint = model.endpoint(name);
  return {
      endpoint->policy_set,
      model.lookup(*endpoint, Direction::kEgress, ip(to), kUdp, port).allowed};
}

TEST_F(ServicesTest, PodReachesItselfThroughItsOwnService) {
  t.set(isolate_dns_pods());
  EXPECT_FALSE(from(t, "x/dns-a", "n1").second) << "dns-b is as good as itself";
  EXPECT_EQ(from(t, "x/dns-a", "n1").first, from(t, "x/dns-b", "n2").first);
  t.remove_pod("x", "dns-b");
  EXPECT_TRUE(from(t, "x/dns-a", "n1").second);
  EXPECT_TRUE(from(t, "x/dns-a", "n1", "10.0.255.2", 30053).second)
      << "a node's port is the Service's as well";
  EXPECT_FALSE(from(t, "x/dns-a", "n1", "10.96.0.10", 54).second);
  t.set(pod("dns-b", "dns", "10.0.0.3", "n2"));
  EXPECT_FALSE(from(t, "x/dns-a", "n1").second);
  EXPECT_EQ(from(t, "x/dns-a", "n1").first, from(t, "x/dns-b", "n2").first)
      << "the set of its own is gone";
}

TEST_F(ServicesTest, PodFallsBackToTheSetThatAllOthersJustLeft) {
  t.set(isolate_dns_pods());
  t.set(slice(
      {{.addresses = {ip("10.0.0.2")}}, {.addresses = {ip("10.0.0.4")}}}));
  EXPECT_TRUE(from(t, "x/dns-a", "n1").second);
  EXPECT_NE(from(t, "x/dns-a", "n1").first, from(t, "x/dns-b", "n2").first);
  // dns-b is no subject any more, and dns-a may not reach x/other.
  t.set(pod("dns-b", "other", "10.0.0.3", "n2"));
  auto policy = isolate_dns_pods();
  policy.specs[0].rules[0].peers = {app("client")};
  t.set(policy);
  EXPECT_FALSE(from(t, "x/dns-a", "n1").second);
  EXPECT_TRUE(from(t, "x/dns-a", "n1", "10.0.0.1").second);
}

TEST_F(ServicesTest, PodReachesItselfIfItMayReachAllOthersToo) {
  t.set(isolate_dns_pods());
  t.set(slice({{.addresses = {ip("10.0.0.2")}},
               {.addresses = {ip("10.0.0.4")}}}));  // itself and x/other
  EXPECT_TRUE(from(t, "x/dns-a", "n1").second);
  t.set(slice({{.addresses = {ip("10.0.0.2")}},
               {.addresses = {ip("10.0.0.1")}}}));  // itself and x/client
  EXPECT_FALSE(from(t, "x/dns-a", "n1").second);
}

TEST_F(ServicesTest, OthersMayNotReachAPodAsItReachesItself) {
  t.remove_pod("x", "dns-b");
  t.set(isolate_dns_pods());
  t.set(egress({app("other")}));
  EXPECT_TRUE(from(t, "x/dns-a", "n1").second);
  EXPECT_FALSE(allowed("10.96.0.10", 53));
}

TEST_F(ServicesTest, PolicyThatAllowsThePodAnywayNeedsNoSetOfItsOwn) {
  auto policy = isolate_dns_pods();
  policy.specs[0].rules[0].peers.emplace_back(app("dns"));
  t.set(policy);
  const auto before = from(t, "x/dns-a", "n1");
  EXPECT_TRUE(before.second);
  t.remove_pod("x", "dns-b");
  EXPECT_EQ(from(t, "x/dns-a", "n1"), before);
}

TEST_F(ServicesTest, ExplainSaysThatThePodReachesItself) {
  t.remove_pod("x", "dns-b");
  t.set(isolate_dns_pods());
  const auto answer = t.explain({.subject = "x/dns-a",
                                 .direction = Direction::kEgress,
                                 .peer = ip("10.96.0.10"),
                                 .protocol = kUdp,
                                 .port = 53});
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->allowed);
  EXPECT_EQ(answer->rule, std::uint32_t{SLUICE_RULE_SELF});
  ASSERT_THAT(answer->backends, SizeIs(1));
  EXPECT_TRUE(answer->backends[0].allowed);
  EXPECT_EQ(answer->backends[0].decided.id, std::uint32_t{SLUICE_RULE_SELF});
}

// What leads to the address of a node, at the port where nodes carry the
// packets of pods.
kube::EndpointSlice tunnel_slice(std::uint16_t port = 8472) {
  auto result = slice({{.addresses = {ip("10.0.255.2")}}});
  result.ports[0].port = port;
  return result;
}

TEST_F(ServicesTest, TunnelsBehindServicesAreClosed) {
  const auto before = t.snapshot("n1");
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  for (const std::uint16_t port : {8472, 4789, 6081}) {
    t.set(tunnel_slice(port));
    EXPECT_FALSE(allowed("10.96.0.10", 53)) << port;
    EXPECT_FALSE(allowed("10.0.255.1", 30053)) << port;
    EXPECT_TRUE(allowed("10.96.0.10", 54)) << port;
    EXPECT_TRUE(allowed("10.96.0.10", 53, kTcp)) << port;
    EXPECT_TRUE(allowed("10.0.255.2", 53)) << port;
    EXPECT_TRUE(allowed("10.0.0.4", port)) << port;
  }
  const auto answer = explain("10.96.0.10", 53);
  ASSERT_TRUE(answer);
  ASSERT_THAT(answer->backends, SizeIs(1));
  EXPECT_EQ(answer->backends[0].decided.policy,
            "Sluice/tunnels-behind-services");
  t.set(tunnel_slice(8473));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  t.set(tunnel_slice());
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  t.set(slice({{.addresses = {ip("10.0.0.2")}}}));
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  t.remove_endpoint_slice("x", "dns-1");
  const auto after = t.snapshot("n1");
  EXPECT_EQ(after.entries.size(), before.entries.size());
  EXPECT_EQ(after.sets.size(), before.sets.size());
}

TEST_F(ServicesTest, NoPolicyOpensTunnelsBehindServices) {
  auto policy = egress({});
  policy.key.kind = "ClusterNetworkPolicy";
  policy.tier = Tier::kAdmin;
  t.set(policy);
  t.set(tunnel_slice());
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  EXPECT_TRUE(allowed("10.0.0.4", 53));
}

TEST_F(ServicesTest, NamespaceMayBePermittedTunnelsBehindServices) {
  t.set(tunnel_slice());
  kube::Namespace ns{.name = "x", .labels = {}, .annotations = {}};
  ns.annotations["sluice.io/permit"] = "tunnels";
  t.set(ns);
  EXPECT_TRUE(allowed("10.96.0.10", 53));
  ns.annotations.clear();
  t.set(ns);
  EXPECT_FALSE(allowed("10.96.0.10", 53));
  t.remove_service("x", "dns");
  EXPECT_TRUE(allowed("10.96.0.10", 53));
}

}  // namespace
}  // namespace sluice::policy
