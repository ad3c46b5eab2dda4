// SPDX-License-Identifier: Apache-2.0
// Services and host ports behind which pods of different nodes find different
// backends: traffic policies, hints of EndpointSlices, ports of nodes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/policy/model.h"
#include "lib/policy/translator.h"
#include "tests/unit/policy/world.h"

namespace sluice::policy {
namespace {

using test::labels;
using test::pod;
using testing::ElementsAre;
using testing::IsEmpty;

IpAddress ip(const std::string& text) {
  return *parse_ip(text);
}

kube::Service web() {
  kube::Service result;
  result.ns = "x";
  result.name = "web";
  result.selector = {{"app", "web"}};
  result.cluster_ips = {ip("10.96.0.10")};
  result.external_ips = {ip("192.0.2.1")};
  result.ports = {{.name = "http",
                   .protocol = 6,
                   .port = 80,
                   .target_port = 8080,
                   .target_name = {},
                   .node_port = 30080}};
  return result;
}

kube::SliceEndpoint endpoint(const std::string& address,
                             const std::string& node,
                             std::vector<std::string> zones = {},
                             std::vector<std::string> nodes = {}) {
  return {.addresses = {ip(address)},
          .node = node,
          .for_zones = std::move(zones),
          .for_nodes = std::move(nodes)};
}

kube::SliceEndpoint ending(const std::string& address,
                           const std::string& node) {
  return {.addresses = {ip(address)},
          .ready = false,
          .serving = true,
          .terminating = true,
          .node = node};
}

kube::EndpointSlice slice(std::vector<kube::SliceEndpoint> endpoints) {
  return {.ns = "x",
          .name = "web-1",
          .service = "web",
          .ports = {{.name = "http", .protocol = 6, .port = 8080}},
          .endpoints = std::move(endpoints)};
}

// The pods with the label app=`subject` may speak to those with app=`peer`
// only.
Policy egress(const std::string& peer, const std::string& subject = "client") {
  Rule rule;
  rule.direction = Direction::kEgress;
  rule.peers = {labels("x", peer)};
  rule.l4 = {.any = true};
  rule.path = "spec.egress[0]";
  Spec spec;
  spec.subject = labels("x", subject);
  spec.default_deny = {false, true};
  spec.rules = {rule};
  Policy result;
  result.key = {.kind = "CiliumNetworkPolicy", .ns = "x", .name = subject};
  result.specs = {spec};
  return result;
}

kube::Node node(const std::string& name, const std::string& address,
                const std::string& zone) {
  kube::Node result{.name = name, .labels = {}, .ips = {ip(address)}};
  if (!zone.empty()) {
    result.labels["topology.kubernetes.io/zone"] = zone;
  }
  return result;
}

// A client on each of three nodes, of which two are in zones, may speak to pods
// with app=web. On n1 there is one of these, on n2 one of another kind that the
// Service has behind it all the same.
class TrafficTest : public testing::Test {
 protected:
  void SetUp() override {
    t.set(kube::Namespace{.name = "x", .labels = {}, .annotations = {}});
    t.set(node("n1", "10.0.255.1", "a"));
    t.set(node("n2", "10.0.255.2", "b"));
    t.set(node("n3", "10.0.255.3", ""));
    t.set(pod("client1", "client", "10.0.1.1", "n1"));
    t.set(pod("client2", "client", "10.0.2.1", "n2"));
    t.set(pod("client3", "client", "10.0.3.1", "n3"));
    t.set(pod("web", "web", "10.0.1.2", "n1"));
    t.set(pod("old", "old", "10.0.2.2", "n2"));
    t.set(egress("web"));
    t.set(web());
    for (const char* name : {"n1", "n2", "n3"}) {
      t.watch_node(name);
    }
  }
  void take_all() {
    for (const char* name : {"n1", "n2", "n3"}) {
      (void)t.take(name);
    }
  }
  // Egress from the client of the node.
  bool allowed(int number, const std::string& to = "10.96.0.10",
               std::uint16_t port = 80) {
    return allowed("client" + std::to_string(number),
                   "n" + std::to_string(number), to, port);
  }
  bool allowed(const std::string& from, const std::string& on,
               const std::string& to, std::uint16_t port) {
    const Model model(t.snapshot(on));
    const bool result = model
                            .lookup(*model.endpoint("x/" + from),
                                    Direction::kEgress, ip(to), 6, port)
                            .allowed;
    const auto answer = ask(from, to, port);
    EXPECT_TRUE(answer && answer->allowed == result) << from << " to " << to;
    return result;
  }
  std::optional<Translator::Answer> ask(const std::string& from,
                                        const std::string& to,
                                        std::uint16_t port) {
    return t.explain({.subject = "x/" + from,
                      .direction = Direction::kEgress,
                      .peer = ip(to),
                      .protocol = 6,
                      .port = port});
  }
  Translator t;
};

TEST_F(TrafficTest, WithoutTrafficPolicyEveryBackendCounts) {
  t.set(slice({endpoint("10.0.1.2", "n1"), endpoint("10.0.2.2", "n2")}));
  EXPECT_FALSE(allowed(1));
  EXPECT_FALSE(allowed(3));
}

TEST_F(TrafficTest, WithInternalLocalTheBackendsOfThePodsNodeDecide) {
  auto service = web();
  service.internal_local = true;
  t.set(service);
  t.set(slice({endpoint("10.0.1.2", "n1"), endpoint("10.0.2.2", "n2")}));
  EXPECT_TRUE(allowed(1));
  EXPECT_FALSE(allowed(2));
  EXPECT_FALSE(allowed(3));  // kube-proxy drops there
  // A pod without isolation is not denied anywhere.
  t.remove_policy(egress("web").key);
  EXPECT_TRUE(allowed(2));
  EXPECT_TRUE(allowed(3));
}

TEST_F(TrafficTest, InternalLocalIsAboutClusterAddressesOnly) {
  auto service = web();
  service.internal_local = true;
  t.set(service);
  t.set(slice({endpoint("10.0.1.2", "n1"), endpoint("10.0.2.2", "n2")}));
  EXPECT_FALSE(allowed(1, "192.0.2.1"));
  EXPECT_FALSE(allowed(1, "10.0.255.1", 30080));
  t.set(slice({endpoint("10.0.1.2", "n1")}));
  EXPECT_TRUE(allowed(3, "192.0.2.1"));
  EXPECT_TRUE(allowed(3, "10.0.255.1", 30080));
  EXPECT_FALSE(allowed(3));
}

TEST_F(TrafficTest, OnEachNodeEndpointsThatEndCountWithoutReadyOnes) {
  auto service = web();
  service.internal_local = true;
  t.set(service);
  t.set(slice({endpoint("10.0.1.2", "n1"), ending("10.0.2.2", "n2"),
               ending("10.0.2.2", "n1")}));
  EXPECT_TRUE(allowed(1));
  EXPECT_FALSE(allowed(2));
  t.set(pod("old", "web", "10.0.2.2", "n2"));
  EXPECT_TRUE(allowed(2));
}

TEST_F(TrafficTest, ServiceWithoutSlicesKnowsTheNodesOfItsPods) {
  auto service = web();
  service.internal_local = true;
  t.set(service);
  EXPECT_TRUE(allowed(1));
  EXPECT_FALSE(allowed(2));
  t.set(pod("web2", "web", "10.0.2.3", "n2"));
  EXPECT_TRUE(allowed(2));
  t.remove_pod("x", "web");
  EXPECT_FALSE(allowed(1));
}

TEST_F(TrafficTest, EndpointWithoutANodeIsLocalNowhere) {
  auto service = web();
  service.internal_local = true;
  t.set(service);
  t.set(slice({endpoint("10.0.1.2", "")}));
  EXPECT_FALSE(allowed(1));
}

TEST_F(TrafficTest, PodThatIsTheOnlyLocalBackendReachesItself) {
  auto service = web();
  service.internal_local = true;
  t.set(pod("web2", "web", "10.0.2.3", "n2"));
  t.set(egress("nobody", "web"));
  t.set(service);
  EXPECT_TRUE(allowed("web", "n1", "10.96.0.10", 80));
  EXPECT_TRUE(allowed("web2", "n2", "10.96.0.10", 80));
  // A second one there could be picked.
  t.set(pod("web3", "web", "10.0.1.3", "n1"));
  EXPECT_FALSE(allowed("web", "n1", "10.96.0.10", 80));
  EXPECT_TRUE(allowed("web2", "n2", "10.96.0.10", 80));
  service.internal_local = false;
  t.set(service);
  EXPECT_FALSE(allowed("web2", "n2", "10.96.0.10", 80));
}

TEST_F(TrafficTest, ExternalLocalRestrictsNothing) {
  auto service = web();
  service.external_local = true;
  t.set(service);
  t.set(slice({endpoint("10.0.1.2", "n1"), endpoint("10.0.2.2", "n2")}));
  EXPECT_FALSE(allowed(1, "192.0.2.1"));
  EXPECT_FALSE(allowed(1, "10.0.255.1", 30080));
  // A node without ready endpoints sends what it takes for packets from outside
  // to those that end.
  t.set(slice({endpoint("10.0.1.2", "n1"), ending("10.0.2.2", "n2")}));
  EXPECT_TRUE(allowed(1));
  EXPECT_FALSE(allowed(1, "192.0.2.1"));
  EXPECT_FALSE(allowed(1, "10.0.255.2", 30080));
  t.set(slice({endpoint("10.0.1.2", "n1"), ending("10.0.2.2", "n1")}));
  EXPECT_TRUE(allowed(1, "192.0.2.1"));
}

TEST_F(TrafficTest, HintsForTheZoneCountIfTheServiceAsksForThem) {
  const auto hinted = slice({endpoint("10.0.1.2", "n1", {"a"}),
                             endpoint("10.0.2.2", "n2", {"b", "c"})});
  t.set(hinted);
  EXPECT_FALSE(allowed(1));
  auto service = web();
  service.closeness = kube::Closeness::kZone;
  t.set(service);
  EXPECT_TRUE(allowed(1));
  EXPECT_TRUE(allowed(1, "192.0.2.1"));
  EXPECT_FALSE(allowed(1, "10.0.255.1", 30080));
  EXPECT_FALSE(allowed(2));
  EXPECT_FALSE(allowed(3));  // in no zone: all endpoints
  t.set(node("n3", "10.0.255.3", "a"));
  EXPECT_TRUE(allowed(3));
  t.set(node("n3", "10.0.255.3", "d"));
  EXPECT_FALSE(allowed(3));  // none for this zone: all endpoints
}

TEST_F(TrafficTest, OneReadyEndpointWithoutHintsMakesAllCount) {
  auto service = web();
  service.closeness = kube::Closeness::kZone;
  t.set(service);
  t.set(slice({endpoint("10.0.1.2", "n1", {"a"}), endpoint("10.0.2.2", "n2")}));
  EXPECT_FALSE(allowed(1));
  auto unready = endpoint("10.0.2.2", "n2");
  unready.ready = false;
  t.set(slice({endpoint("10.0.1.2", "n1", {"a"}), unready}));
  EXPECT_TRUE(allowed(1));
}

TEST_F(TrafficTest, HintsForTheNodeComeBeforeThoseForTheZone) {
  auto service = web();
  service.closeness = kube::Closeness::kNode;
  t.set(service);
  t.set(pod("near", "old", "10.0.1.9", "n1"));
  t.set(slice({endpoint("10.0.1.2", "n1", {"a"}, {"n1"}),
               endpoint("10.0.1.9", "n1", {"a"}, {"n9"}),
               endpoint("10.0.2.2", "n2", {"b"}, {"n2"})}));
  EXPECT_TRUE(allowed(1));
  EXPECT_FALSE(allowed(2));
  t.set(node("n3", "10.0.255.3", "a"));
  EXPECT_FALSE(allowed(3));  // both of the zone
  // Versions of kube-proxy disagree about these hints for such a Service.
  service.closeness = kube::Closeness::kZone;
  t.set(service);
  t.set(slice({endpoint("10.0.1.2", "n1", {"a"}, {"n1"}),
               endpoint("10.0.2.2", "n2", {"b"}, {"n2"})}));
  EXPECT_FALSE(allowed(1));
}

TEST_F(TrafficTest, ChangeOfAZoneConcernsThatNodeOnly) {
  auto service = web();
  service.closeness = kube::Closeness::kZone;
  t.set(service);
  t.set(slice(
      {endpoint("10.0.1.2", "n1", {"a"}), endpoint("10.0.2.2", "n2", {"b"})}));
  take_all();
  t.set(node("n3", "10.0.255.3", "a"));
  EXPECT_THAT(t.changed_nodes(), ElementsAre("n3"));
  const auto change = t.take("n3");
  EXPECT_THAT(change.entries, IsEmpty());
  ASSERT_EQ(change.peers.size(), 2U);
  EXPECT_EQ(change.peers[0].prefix.address, ip("10.96.0.10"));
  EXPECT_EQ(change.peers[1].prefix.address, ip("192.0.2.1"));
  t.set(node("n3", "10.0.255.3", "b"));
  EXPECT_THAT(t.changed_nodes(), ElementsAre("n3"));
}

TEST_F(TrafficTest, OneMoreNodeWithALocalBackendChangesNothingElsewhere) {
  auto service = web();
  service.internal_local = true;
  t.set(service);
  take_all();
  t.set(pod("web3", "web", "10.0.3.2", "n3"));
  for (const char* name : {"n1", "n2"}) {
    const auto change = t.take(name);
    EXPECT_THAT(change.entries, IsEmpty());
    ASSERT_EQ(change.peers.size(), 1U);  // the pod itself
    EXPECT_EQ(change.peers[0].prefix.address, ip("10.0.3.2"));
  }
  EXPECT_THAT(t.take("n3").entries, IsEmpty());
  EXPECT_TRUE(allowed(3));
}

TEST_F(TrafficTest, ExplainSaysThatNoEndpointIsLocal) {
  auto service = web();
  service.internal_local = true;
  t.set(service);
  t.set(slice({endpoint("10.0.1.2", "n1")}));
  const auto answer = ask("client3", "10.96.0.10", 80);
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->allowed);
  EXPECT_THAT(answer->services, ElementsAre("x/web"));
  EXPECT_THAT(answer->local_services, ElementsAre("x/web"));
  EXPECT_THAT(answer->backends, IsEmpty());
}

kube::Pod hosted(const std::string& name, const std::string& app,
                 const std::string& address, const std::string& on) {
  auto result = pod(name, app, address, on);
  result.host_ports = {{.protocol = 6, .host_port = 7080, .port = 8080}};
  return result;
}

TEST_F(TrafficTest, HostPortIsJudgedAsThePodBehindIt) {
  EXPECT_FALSE(allowed(1, "10.0.255.1", 7080));
  t.set(hosted("web", "web", "10.0.1.2", "n1"));
  EXPECT_TRUE(allowed(1, "10.0.255.1", 7080));
  EXPECT_TRUE(allowed(2, "10.0.255.1", 7080));
  EXPECT_FALSE(allowed(1, "10.0.255.1", 7081));
  EXPECT_FALSE(allowed(1, "10.0.255.2", 7080));  // another node
  t.set(hosted("web", "old", "10.0.1.2", "n1"));
  EXPECT_FALSE(allowed(1, "10.0.255.1", 7080));
  const auto answer = ask("client1", "10.0.255.1", 7080);
  ASSERT_TRUE(answer);
  EXPECT_THAT(answer->host_port_nodes, ElementsAre("n1"));
  ASSERT_EQ(answer->backends.size(), 1U);
  EXPECT_EQ(answer->backends[0].pod, "x/web");
}

TEST_F(TrafficTest, RuleForNodesDoesNotOpenAHostPort) {
  auto policy = egress("web");
  policy.specs[0].rules[0].peers = {Entity::kHost, Entity::kRemoteNode};
  t.set(policy);
  EXPECT_TRUE(allowed(1, "10.0.255.2", 7080));
  t.set(hosted("old", "old", "10.0.2.2", "n2"));
  EXPECT_FALSE(allowed(1, "10.0.255.2", 7080));
  EXPECT_TRUE(allowed(1, "10.0.255.2", 7081));
  t.remove_pod("x", "old");
  EXPECT_TRUE(allowed(1, "10.0.255.2", 7080));
}

TEST_F(TrafficTest, HostPortWithAnAddressIsThereOnly) {
  t.set_node_addresses("n1", {ip("10.0.255.1"), ip("172.16.0.1")});
  auto pod_with_port = hosted("web", "web", "10.0.1.2", "n1");
  t.set(pod_with_port);
  EXPECT_TRUE(allowed(2, "172.16.0.1", 7080));
  pod_with_port.host_ports[0].host_ip = ip("10.0.255.1");
  t.set(pod_with_port);
  EXPECT_TRUE(allowed(2, "10.0.255.1", 7080));
  EXPECT_FALSE(allowed(2, "172.16.0.1", 7080));
}

TEST_F(TrafficTest, FinishedPodsAndThoseOfTheNodesNetworkHaveNoHostPort) {
  auto gone = hosted("web", "web", "10.0.1.2", "n1");
  gone.finished = true;
  t.set(gone);
  EXPECT_FALSE(allowed(1, "10.0.255.1", 7080));
  auto host = hosted("web", "web", "10.0.255.1", "n1");
  host.host_network = true;
  t.set(host);
  EXPECT_FALSE(allowed(1, "10.0.255.1", 7080));
}

TEST_F(TrafficTest, PodReachesItselfThroughItsHostPort) {
  t.set(egress("nobody", "web"));
  t.set(hosted("web", "web", "10.0.1.2", "n1"));
  t.set(hosted("web2", "web", "10.0.2.3", "n2"));
  EXPECT_TRUE(allowed("web", "n1", "10.0.255.1", 7080));
  EXPECT_FALSE(allowed("web", "n1", "10.0.255.2", 7080));
}

TEST_F(TrafficTest, HostPortOfOneNodeConcernsItsAddressesOnly) {
  t.set(hosted("web", "web", "10.0.1.2", "n1"));
  take_all();
  t.set(hosted("web3", "web", "10.0.3.2", "n3"));
  for (const char* name : {"n1", "n2", "n3"}) {
    const auto change = t.take(name);
    EXPECT_THAT(change.entries, IsEmpty()) << name;
    for (const auto& peer : change.peers) {
      EXPECT_NE(peer.prefix.address, ip("10.0.255.1"));
      EXPECT_NE(peer.prefix.address, ip("10.0.255.2"));
    }
  }
  EXPECT_TRUE(allowed(1, "10.0.255.3", 7080));
}

}  // namespace
}  // namespace sluice::policy
