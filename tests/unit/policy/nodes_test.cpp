// SPDX-License-Identifier: Apache-2.0
// Nodes are all their addresses: those of their objects, and those that their
// agents have found and that can be theirs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/policy/model.h"
#include "lib/policy/translator.h"

namespace sluice::policy {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint32_t kOwn = SLUICE_CIDR_LOCAL_NODE | SLUICE_CIDR_NODE;

IpAddress ip(const std::string& text) {
  return *parse_ip(text);
}

LabelSelector label(const std::string& key, const std::string& value) {
  return {{{.key = key, .op = Requirement::Op::kIn, .values = {value}}}};
}

kube::Pod pod(const std::string& name, const std::string& address,
              const std::string& node) {
  kube::Pod result;
  result.ns = "x";
  result.name = name;
  result.labels = {{"app", name}};
  result.node = node;
  result.service_account = "default";
  result.ips = {ip(address)};
  return result;
}

// Pods `web`, isolated both ways but for one peer.
Policy policy(const PeerSelector& peer, Action action = Action::kAllow) {
  Spec spec;
  spec.subject = label("app", "web");
  spec.default_deny = {true, true};
  for (const auto direction : {Direction::kIngress, Direction::kEgress}) {
    Rule rule;
    rule.direction = direction;
    rule.action = action;
    rule.peers = {peer};
    rule.l4 = {.any = true};
    rule.path =
        direction == Direction::kIngress ? "spec.ingress[0]" : "spec.egress[0]";
    spec.rules.push_back(rule);
  }
  Policy result;
  result.key = {.kind = "CiliumNetworkPolicy", .ns = "x", .name = "p"};
  result.specs = {spec};
  return result;
}

class NodesTest : public testing::Test {
 protected:
  void SetUp() override {
    node("n1", {"10.9.0.1"}, {"10.244.1.0/24"}, {{"role", "worker"}});
    node("n2", {"10.9.0.2"}, {"10.244.2.0/24"}, {{"role", "control"}});
    t.set(pod("web", "10.244.1.5", "n1"));
    auto other = pod("web2", "10.244.2.5", "n2");
    other.labels = {{"app", "web"}};
    t.set(other);
    for (const char* name : {"n1", "n2"}) {
      t.watch_node(name);
      apply(kept[name], t.take(name));
    }
  }
  // Every test ends with views that were kept up to date by changes.
  void TearDown() override {
    for (auto& [name, state] : kept) {
      apply(state, t.take(name));
      EXPECT_EQ(state.peers, t.snapshot(name).peers) << name;
      EXPECT_EQ(state.entries, t.snapshot(name).entries) << name;
    }
  }
  void node(const std::string& name, const std::vector<std::string>& ips,
            const std::vector<std::string>& cidrs, const kube::Labels& labels) {
    kube::Node object{.name = name, .labels = labels, .ips = {}};
    for (const auto& text : ips) {
      object.ips.push_back(ip(text));
    }
    for (const auto& text : cidrs) {
      object.pod_cidrs.push_back(*parse_prefix(text));
    }
    t.set(object);
  }
  void report(const std::string& name, const std::vector<std::string>& ips) {
    std::vector<IpAddress> addresses;
    addresses.reserve(ips.size());
    for (const auto& text : ips) {
      addresses.push_back(ip(text));
    }
    t.set_node_addresses(name, addresses);
    for (auto& [watched, state] : kept) {
      apply(state, t.take(watched));
      EXPECT_EQ(state.peers, t.snapshot(watched).peers) << watched;
    }
  }
  // What the kernel of `name` holds for an address, and whether it is there.
  std::uint32_t marks(const std::string& name, const std::string& address) {
    return Model(t.snapshot(name)).peer_class(ip(address)) & kOwn;
  }
  bool exact(const std::string& name, const std::string& address) {
    const auto prefix = make_prefix(ip(address), ip(address).bits());
    const auto state = t.snapshot(name);
    return std::ranges::any_of(state.peers, [&](const PeerEntry& peer) {
      return peer.prefix == prefix;
    });
  }
  // Of web on n1, or of web2 on n2; also what explain says.
  bool allowed(const std::string& node, const std::string& address,
               Direction direction = Direction::kEgress) {
    const std::string subject = node == "n1" ? "x/web" : "x/web2";
    const Model model(t.snapshot(node));
    const bool result =
        model.lookup(*model.endpoint(subject), direction, ip(address), 6, 80)
            .allowed;
    const auto answer = t.explain({.subject = subject,
                                   .direction = direction,
                                   .peer = ip(address),
                                   .protocol = 6,
                                   .port = 80});
    EXPECT_TRUE(answer && answer->allowed == result) << address;
    return result;
  }
  Translator t;
  std::map<std::string, State> kept;
};

TEST_F(NodesTest, ReportedAddressIsTheNodesUntilItIsReportedNoMore) {
  t.set(policy(Entity::kRemoteNode));
  EXPECT_FALSE(allowed("n1", "10.244.2.0"));
  report("n2", {"10.9.0.2", "10.244.2.0", "10.244.2.1", "fd09::2"});
  for (const char* address :
       {"10.9.0.2", "10.244.2.0", "10.244.2.1", "fd09::2"}) {
    EXPECT_EQ(marks("n1", address), std::uint32_t{SLUICE_CIDR_NODE}) << address;
    EXPECT_EQ(marks("n2", address), kOwn) << address;
    EXPECT_TRUE(allowed("n1", address)) << address;
    EXPECT_FALSE(allowed("n2", address)) << address;
    EXPECT_TRUE(allowed("n2", address, Direction::kIngress)) << address;
  }
  report("n2", {"10.244.2.1"});
  EXPECT_FALSE(allowed("n1", "10.244.2.0"));
  EXPECT_FALSE(exact("n1", "10.244.2.0"));
  EXPECT_TRUE(allowed("n1", "10.244.2.1"));
  // What the object names stays.
  EXPECT_TRUE(allowed("n1", "10.9.0.2"));
  t.remove_node("n2");
  EXPECT_FALSE(allowed("n1", "10.244.2.1"));
  EXPECT_FALSE(allowed("n1", "10.9.0.2"));
  node("n2", {"10.9.0.2"}, {}, {});
  EXPECT_FALSE(allowed("n1", "10.244.2.1"));
  EXPECT_TRUE(allowed("n1", "10.9.0.2"));
}

TEST_F(NodesTest, NodeThatIsNotKnownHasNoAddresses) {
  report("n9", {"10.9.0.9"});
  EXPECT_EQ(marks("n1", "10.9.0.9"), 0U);
  node("n9", {}, {}, {});
  EXPECT_EQ(marks("n1", "10.9.0.9"), 0U);
}

TEST_F(NodesTest, NodeIsTheApiServerByAllItsAddresses) {
  t.set(policy(Entity::kKubeApiserver));
  const kube::EndpointSlice slice{
      .ns = "default",
      .name = "kubernetes",
      .service = "kubernetes",
      .ports = {},
      .endpoints = {{.addresses = {ip("10.9.0.2")}}}};
  report("n2", {"10.244.2.0", "fd09::2"});
  EXPECT_FALSE(allowed("n1", "10.244.2.0"));
  t.set(slice);
  for (const char* address : {"10.9.0.2", "10.244.2.0", "fd09::2"}) {
    EXPECT_TRUE(allowed("n1", address)) << address;
    EXPECT_TRUE(allowed("n2", address)) << address;
  }
  EXPECT_FALSE(allowed("n1", "10.9.0.1"));
}

// An agent that lies cannot make its node the API server, nor the API server
// something else.
TEST_F(NodesTest, NodeIsNotTheApiServerByWhatItsAgentAloneSays) {
  t.set(policy(Entity::kKubeApiserver));
  t.set(kube::EndpointSlice{.ns = "default",
                            .name = "kubernetes",
                            .service = "kubernetes",
                            .ports = {},
                            .endpoints = {{.addresses = {ip("192.0.2.6")}}}});
  EXPECT_TRUE(allowed("n1", "192.0.2.6"));
  report("n2", {"192.0.2.6", "10.244.2.0"});
  EXPECT_TRUE(allowed("n1", "192.0.2.6"));
  EXPECT_FALSE(allowed("n1", "10.9.0.2"));
  EXPECT_FALSE(allowed("n1", "10.244.2.0"));
  // A node of the control plane can be believed.
  node("n2", {"10.9.0.2"}, {"10.244.2.0/24"},
       {{"node-role.kubernetes.io/control-plane", ""}});
  EXPECT_TRUE(allowed("n1", "192.0.2.6"));
  EXPECT_TRUE(allowed("n1", "10.9.0.2"));
  EXPECT_TRUE(allowed("n1", "10.244.2.0"));
  report("n2", {"10.244.2.0"});
  EXPECT_FALSE(allowed("n1", "10.9.0.2"));
  EXPECT_FALSE(allowed("n1", "10.244.2.0"));
  EXPECT_TRUE(allowed("n1", "192.0.2.6"));
}

TEST_F(NodesTest, AddressesThatCannotBeTheNodesAreNotBelieved) {
  t.set(kube::Service{.ns = "x",
                      .name = "s",
                      .labels = {},
                      .selector = {},
                      .type = "ClusterIP",
                      .cluster_ips = {ip("10.96.0.1")},
                      .external_ips = {},
                      .load_balancer_ips = {},
                      .ports = {{.port = 80}}});
  auto host = pod("host", "10.9.7.7", "n1");
  host.host_network = true;
  t.set(host);
  const std::vector<std::string> all{"127.0.0.1",  "::1",       "224.0.0.1",
                                     "ff02::1",    "fe80::1",   "169.254.1.1",
                                     "0.0.0.0",    "10.9.0.1",  "10.244.1.9",
                                     "10.244.2.5", "10.96.0.1", "10.9.7.7"};
  report("n2", all);
  for (const auto& address : all) {
    if (address == "10.9.7.7") {
      continue;
    }
    EXPECT_EQ(marks("n1", address) & SLUICE_CIDR_NODE,
              address == "10.9.0.1" ? std::uint32_t{SLUICE_CIDR_NODE} : 0U)
        << address;
    EXPECT_EQ(marks("n2", address) & SLUICE_CIDR_LOCAL_NODE, 0U) << address;
  }
  // A pod in its node's network does not keep the node from its address.
  EXPECT_EQ(marks("n1", "10.9.7.7"), std::uint32_t{SLUICE_CIDR_NODE});
  // The node has an entry for each that could be its own, so that its agent
  // does not take it for the node's.
  for (const char* address :
       {"10.9.0.1", "10.244.1.9", "10.244.2.5", "10.96.0.1"}) {
    EXPECT_TRUE(exact("n2", address)) << address;
  }
  EXPECT_FALSE(exact("n1", "10.244.1.9"));
  report("n2", {});
  EXPECT_FALSE(exact("n2", "10.244.1.9"));
}

// What keeps an address from the node may come and go.
TEST_F(NodesTest, BeliefFollowsPodsServicesNodesAndPodCidrs) {
  report("n2", {"10.50.0.1"});
  const auto believed = [&] {
    return marks("n1", "10.50.0.1") == SLUICE_CIDR_NODE;
  };
  EXPECT_TRUE(believed());
  t.set(pod("p", "10.50.0.1", "n1"));
  EXPECT_FALSE(believed());
  t.remove_pod("x", "p");
  EXPECT_TRUE(believed());
  t.set(kube::Service{.ns = "x",
                      .name = "s",
                      .labels = {},
                      .selector = {},
                      .type = "ClusterIP",
                      .cluster_ips = {},
                      .external_ips = {ip("10.50.0.1")},
                      .load_balancer_ips = {},
                      .ports = {{.port = 80}}});
  EXPECT_FALSE(believed());
  t.remove_service("x", "s");
  EXPECT_TRUE(believed());
  node("n3", {}, {"10.50.0.0/16"}, {});
  EXPECT_FALSE(believed());
  node("n3", {}, {"10.51.0.0/16"}, {});
  EXPECT_TRUE(believed());
  node("n3", {}, {"10.50.0.0/16"}, {});
  t.remove_node("n3");
  EXPECT_TRUE(believed());
  node("n3", {"10.50.0.1"}, {}, {});
  EXPECT_EQ(marks("n2", "10.50.0.1"), std::uint32_t{SLUICE_CIDR_NODE});
  t.remove_node("n3");
  EXPECT_EQ(marks("n2", "10.50.0.1"), kOwn);
}

// A bridge's address that many nodes have is each one's own.
TEST_F(NodesTest, AddressThatSeveralNodesHaveIsEachOnesOwn) {
  t.set(policy(NodePeer{label("role", "control")}));
  report("n1", {"172.17.0.1"});
  report("n2", {"172.17.0.1"});
  EXPECT_EQ(marks("n1", "172.17.0.1"), kOwn);
  EXPECT_EQ(marks("n2", "172.17.0.1"), kOwn);
  EXPECT_FALSE(allowed("n1", "172.17.0.1"));
  EXPECT_TRUE(allowed("n2", "172.17.0.1"));
  report("n1", {});
  EXPECT_TRUE(allowed("n1", "172.17.0.1"));
}

TEST_F(NodesTest, NodeSelectorMeansAllAddressesOfTheNodesWithTheLabels) {
  report("n1", {"10.244.1.1"});
  report("n2", {"10.244.2.1", "fd09::2"});
  t.set(policy(NodePeer{label("role", "control")}));
  for (const char* address : {"10.9.0.2", "10.244.2.1", "fd09::2"}) {
    EXPECT_TRUE(allowed("n1", address)) << address;
    EXPECT_TRUE(allowed("n2", address)) << address;
  }
  for (const char* address :
       {"10.9.0.1", "10.244.1.1", "10.244.2.5", "8.8.8.8"}) {
    EXPECT_FALSE(allowed("n1", address)) << address;
  }
  node("n2", {"10.9.0.2"}, {"10.244.2.0/24"}, {{"role", "worker"}});
  EXPECT_FALSE(allowed("n1", "fd09::2"));
  t.set(policy(NodePeer{label("role", "worker")}));
  EXPECT_TRUE(allowed("n1", "fd09::2"));
  EXPECT_TRUE(allowed("n1", "10.9.0.1"));
  t.set(policy(NodePeer{}));
  EXPECT_TRUE(allowed("n1", "10.9.0.1"));
  EXPECT_FALSE(allowed("n1", "10.244.2.5"));
  t.remove_policy({.kind = "CiliumNetworkPolicy", .ns = "x", .name = "p"});
  EXPECT_TRUE(allowed("n1", "8.8.8.8"));
}

TEST_F(NodesTest, NodeThatSaysWhatItSaidCostsNobodyAnything) {
  report("n2", {"10.244.2.1"});
  t.set_node_addresses("n2", {ip("10.244.2.1")});
  EXPECT_THAT(t.changed_nodes(), IsEmpty());
  t.set_node_addresses("n2", {ip("10.244.2.1"), ip("10.244.2.2")});
  EXPECT_THAT(t.changed_nodes(), ElementsAre("n1", "n2"));
}

}  // namespace
}  // namespace sluice::policy
