// SPDX-License-Identifier: Apache-2.0
// What a watched node is told of, and what it is spared.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/policy/model.h"
#include "lib/policy/translator.h"

namespace sluice::policy {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

IpAddress ip(const std::string& text) {
  return *parse_ip(text);
}

LabelSelector app(const std::string& value) {
  return {{{.key = "app", .op = Requirement::Op::kIn, .values = {value}}}};
}

kube::Pod pod(const std::string& name, const std::string& app_label,
              const std::string& address, const std::string& node) {
  kube::Pod result;
  result.ns = "x";
  result.name = name;
  result.labels = {{"app", app_label}};
  result.node = node;
  result.service_account = "default";
  result.ips = {ip(address)};
  return result;
}

// Pods `subject` are isolated but for what `peer` may reach.
Policy policy(const std::string& subject, PeerSelector peer) {
  Rule rule;
  rule.peers = {std::move(peer)};
  rule.l4 = {.any = true};
  rule.path = "spec.ingress[0]";
  Spec spec;
  spec.subject = app(subject);
  spec.default_deny = {true, false};
  spec.rules = {rule};
  Policy result;
  result.key = {.kind = "CiliumNetworkPolicy", .ns = "x", .name = subject};
  result.specs = {spec};
  return result;
}

CidrPeer external(const std::string& cidr) {
  return {.cidr = *parse_prefix(cidr), .except = {}, .external_only = true};
}

class ViewTest : public testing::Test {
 protected:
  void SetUp() override {
    t.set(kube::Node{.name = "n1", .labels = {}, .ips = {ip("10.9.0.1")}});
    t.set(kube::Node{.name = "n2", .labels = {}, .ips = {ip("10.9.0.2")}});
    t.set(pod("web", "web", "10.0.1.1", "n1"));
    t.set(pod("db", "db", "10.0.2.1", "n2"));
    t.set(pod("client", "client", "10.0.3.1", "n3"));
    for (const char* node : {"n1", "n2"}) {
      t.watch_node(node);
    }
  }
  // Without the addresses of nodes, which every node has.
  std::vector<std::string> peers(const std::string& node) {
    std::vector<std::string> result;
    for (const auto& peer : t.snapshot(node).peers) {
      if ((peer.cidr_id & SLUICE_CIDR_NODE) == 0) {
        result.push_back(to_string(peer.prefix));
      }
    }
    return result;
  }
  std::uint32_t class_of(const std::string& node, const std::string& address) {
    return Model(t.snapshot(node)).peer_class(ip(address));
  }
  void settle() {
    t.take("n1");
    t.take("n2");
    EXPECT_THAT(t.changed_nodes(), IsEmpty());
  }
  Translator t;
};

TEST_F(ViewTest, NodeHoldsThePeersOfItsOwnSetsOnly) {
  t.set(policy("web", app("client")));
  t.set(policy("db", app("web")));
  EXPECT_THAT(peers("n1"), ElementsAre("10.0.3.1/32"));
  EXPECT_THAT(peers("n2"), ElementsAre("10.0.1.1/32"));
  EXPECT_THAT(peers("n3"), IsEmpty());
}

// The datapath tells nodes by the marks, whatever policies say of them.
TEST_F(ViewTest, EveryNodeHasTheAddressesOfAllNodesMarked) {
  constexpr std::uint32_t kOwn = SLUICE_CIDR_LOCAL_NODE | SLUICE_CIDR_NODE;
  EXPECT_EQ(class_of("n1", "10.9.0.1"), kOwn);
  EXPECT_EQ(class_of("n1", "10.9.0.2"), std::uint32_t{SLUICE_CIDR_NODE});
  EXPECT_EQ(class_of("n2", "10.9.0.1"), std::uint32_t{SLUICE_CIDR_NODE});
  EXPECT_EQ(class_of("n3", "10.9.0.1"), std::uint32_t{SLUICE_CIDR_NODE});
  t.set(policy("web", Entity::kRemoteNode));
  const auto told = class_of("n1", "10.9.0.2");
  EXPECT_EQ(told & kOwn, std::uint32_t{SLUICE_CIDR_NODE});
  EXPECT_NE(told, std::uint32_t{SLUICE_CIDR_NODE});
  EXPECT_EQ(class_of("n1", "10.9.0.1"), kOwn);
  // Nobody on n2 looks at nodes.
  EXPECT_EQ(class_of("n2", "10.9.0.1"), std::uint32_t{SLUICE_CIDR_NODE});
  t.set(policy("web", Entity::kHost));
  const auto own = class_of("n1", "10.9.0.1");
  EXPECT_EQ(own & kOwn, kOwn);
  EXPECT_NE(own, kOwn);
}

TEST_F(ViewTest, EveryWatchedNodeHearsOfNodesThatComeAndGo) {
  State n1;
  State n2;
  apply(n1, t.take("n1"));
  apply(n2, t.take("n2"));
  t.set(kube::Node{.name = "n4", .labels = {}, .ips = {ip("10.9.0.4")}});
  EXPECT_THAT(t.changed_nodes(), ElementsAre("n1", "n2"));
  apply(n1, t.take("n1"));
  apply(n2, t.take("n2"));
  EXPECT_EQ(n1.peers, t.snapshot("n1").peers);
  EXPECT_EQ(n2.peers, t.snapshot("n2").peers);
  EXPECT_THAT(n1.peers, SizeIs(3));
  t.remove_node("n4");
  apply(n1, t.take("n1"));
  apply(n2, t.take("n2"));
  EXPECT_EQ(n1.peers, t.snapshot("n1").peers);
  EXPECT_EQ(n2.peers, t.snapshot("n2").peers);
  EXPECT_THAT(n1.peers, SizeIs(2));
}

TEST_F(ViewTest, PodEventReachesOnlyTheNodesThatLookAtIt) {
  t.set(policy("web", app("client")));
  t.set(policy("db", app("web")));
  settle();
  t.set(pod("client2", "client", "10.0.3.2", "n3"));
  EXPECT_THAT(t.changed_nodes(), ElementsAre("n1"));
  const auto changes = t.take("n1");
  EXPECT_THAT(changes.peers, SizeIs(1));
  EXPECT_THAT(changes.entries, IsEmpty());
  EXPECT_THAT(t.changed_nodes(), IsEmpty());
  t.remove_pod("x", "client2");
  EXPECT_THAT(t.changed_nodes(), ElementsAre("n1"));
}

// An interface is looked for by its address: it is the newer pod's.
TEST_F(ViewTest, PodWhoseAddressANewerOneOfItsNodeHasIsNoEndpoint) {
  const auto endpoints = [&] {
    std::vector<std::string> names;
    for (const auto& endpoint : t.snapshot("n1").endpoints) {
      names.push_back(endpoint.name);
    }
    return names;
  };
  settle();
  auto late = pod("late", "late", "10.0.1.1", "n1");
  late.created = 2;
  t.set(late);
  EXPECT_THAT(endpoints(), ElementsAre("x/late"));
  const auto changes = t.take("n1");
  ASSERT_THAT(changes.endpoints, SizeIs(2));
  EXPECT_TRUE(changes.endpoints[0].value);
  EXPECT_EQ(changes.endpoints[1].name, "x/web");
  EXPECT_FALSE(changes.endpoints[1].value);
  // What is left of the old one changes nothing any more.
  auto web = pod("web", "web", "10.0.1.1", "n1");
  web.labels["more"] = "labels";
  t.set(web);
  EXPECT_THAT(endpoints(), ElementsAre("x/late"));
  t.remove_pod("x", "late");
  EXPECT_THAT(endpoints(), ElementsAre("x/web"));
  EXPECT_THAT(t.take("n1").endpoints, SizeIs(2));
  // On another node each has an interface of its own.
  late.node = "n2";
  t.set(late);
  EXPECT_THAT(endpoints(), ElementsAre("x/web"));
}

TEST_F(ViewTest, PodsMayDoWhatTheirNamespaceIsPermitted) {
  const auto permits = [&] {
    std::vector<std::uint32_t> all;
    for (const auto& change : t.take("n1").endpoints) {
      all.push_back(change.value ? change.value->permits : 0);
    }
    return all;
  };
  const auto annotate = [&](const std::string& text) {
    t.set(kube::Namespace{.name = "x",
                          .labels = {},
                          .annotations = {{"sluice.io/permit", text}}});
  };
  settle();
  annotate("tunnels, ethertypes");
  EXPECT_THAT(permits(),
              ElementsAre(SLUICE_EP_TUNNELS | SLUICE_EP_ANY_ETHERTYPE));
  annotate("ethertypes,tunnels");
  EXPECT_THAT(permits(), IsEmpty());
  annotate(" neighbours ,,everything,tunnels2");
  EXPECT_THAT(permits(), ElementsAre(SLUICE_EP_ANY_NEIGHBOUR));
  t.remove_namespace("x");
  EXPECT_THAT(permits(), ElementsAre(0));
}

// A node that starts anew gives its pods' addresses out anew, one by one.
TEST_F(ViewTest, PodThatIsSeenToGetAnAddressHasIt) {
  auto older = pod("older", "older", "10.0.1.2", "n1");
  older.created = 1;
  auto newer = pod("newer", "newer", "10.0.1.3", "n1");
  newer.created = 2;
  t.set(older);
  t.set(newer);
  settle();
  older.ips = {ip("10.0.1.3")};
  t.set(older);
  const auto changes = t.take("n1");
  ASSERT_THAT(changes.endpoints, SizeIs(2));
  EXPECT_EQ(changes.endpoints[0].name, "x/newer");
  EXPECT_FALSE(changes.endpoints[0].value);
  EXPECT_EQ(changes.endpoints[1].name, "x/older");
  EXPECT_TRUE(changes.endpoints[1].value);
  newer.ips = {ip("10.0.1.2")};
  t.set(newer);
  EXPECT_THAT(t.take("n1").endpoints, SizeIs(1));
  EXPECT_THAT(t.snapshot("n1").endpoints, SizeIs(3));
}

TEST_F(ViewTest, PodThatNobodySelectsIsNobodysAffair) {
  t.set(policy("web", app("client")));
  settle();
  t.set(pod("stray", "stray", "10.0.4.1", "n3"));
  EXPECT_THAT(t.changed_nodes(), IsEmpty());
}

TEST_F(ViewTest, PodInACidrIsHiddenWhereTheCidrCounts) {
  t.set(policy("web", external("10.0.0.0/8")));
  t.set(policy("db", app("web")));
  settle();
  t.set(pod("stray", "stray", "10.0.4.1", "n3"));
  EXPECT_THAT(t.changed_nodes(), ElementsAre("n1"));
  const auto changes = t.take("n1");
  ASSERT_THAT(changes.peers, SizeIs(1));
  EXPECT_EQ(changes.peers[0].cidr_id, std::uint32_t{SLUICE_CIDR_ANY});
  const Model model(t.snapshot("n1"));
  EXPECT_FALSE(model
                   .lookup(*model.endpoint("x/web"), Direction::kIngress,
                           ip("10.0.4.1"), 6, 80)
                   .allowed);
}

TEST_F(ViewTest, FirstEndpointOfASetBringsItsPeersAndTheLastTakesThemAway) {
  t.set(policy("web", app("client")));
  settle();
  EXPECT_THAT(peers("n2"), IsEmpty());
  t.set(pod("web2", "web", "10.0.2.2", "n2"));
  const auto comes = t.take("n2");
  ASSERT_THAT(comes.peers, SizeIs(1));
  EXPECT_EQ(to_string(comes.peers[0].prefix), "10.0.3.1/32");
  EXPECT_TRUE(comes.peers[0].cidr_id);
  EXPECT_THAT(comes.entries, SizeIs(1));
  t.remove_pod("x", "web2");
  const auto goes = t.take("n2");
  ASSERT_THAT(goes.peers, SizeIs(1));
  EXPECT_FALSE(goes.peers[0].cidr_id);
}

TEST_F(ViewTest, AddressThatLeavesAClassTogetherWithItsLastEntryIsWithdrawn) {
  t.set(policy("web", app("client")));
  State n1;
  apply(n1, t.take("n1"));
  t.remove_policy({.kind = "CiliumNetworkPolicy", .ns = "x", .name = "web"});
  t.set(pod("client", "nobody", "10.0.3.1", "n3"));
  apply(n1, t.take("n1"));
  EXPECT_EQ(n1.peers, t.snapshot("n1").peers);
  EXPECT_THAT(n1.peers, SizeIs(2));  // the nodes' addresses
}

TEST_F(ViewTest, NodeThatIsForgottenAndWatchedAgainGetsEverything) {
  t.set(policy("web", app("client")));
  settle();
  t.forget_node("n1");
  t.set(pod("client2", "client", "10.0.3.2", "n3"));
  t.watch_node("n1");
  EXPECT_THAT(t.changed_nodes(), ElementsAre("n1"));
  State n1;
  apply(n1, t.take("n1"));
  EXPECT_EQ(n1.peers, t.snapshot("n1").peers);
  EXPECT_THAT(n1.peers, SizeIs(4));
}

}  // namespace
}  // namespace sluice::policy
