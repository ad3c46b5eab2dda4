// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/policy/translator.h"
#include "tests/unit/policy/world.h"

// What is valid and probably not meant, by the pods that are there.
namespace sluice::policy {
namespace {

using test::labels;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;

class WarningsTest : public testing::Test {
 protected:
  WarningsTest() { put_pod("web", "10.0.0.1"); }

  void put_pod(const std::string& app, const std::string& ip,
               const std::string& port_name = {}) {
    kube::Pod pod;
    pod.ns = "x";
    pod.name = app;
    pod.labels = {{"app", app}};
    pod.node = "n1";
    pod.ips = {*parse_ip(ip)};
    if (!port_name.empty()) {
      pod.ports = {{.name = port_name, .port = 80, .protocol = kTcp}};
    }
    t.set(pod);
  }
  std::vector<std::string> warnings(std::vector<Rule> rules,
                                    std::array<bool, 2> isolates) {
    Policy policy;
    policy.key = {.kind = "NetworkPolicy", .ns = "x", .name = "p"};
    policy.specs.resize(1);
    policy.specs[0].subject = labels("x", "web");
    policy.specs[0].default_deny = isolates;
    policy.specs[0].rules = std::move(rules);
    t.set(policy);
    return t.warnings(policy.key);
  }
  std::vector<std::string> warnings() {
    return t.warnings({.kind = "NetworkPolicy", .ns = "x", .name = "p"});
  }
  static Rule rule(Direction direction, PeerSelector peer, L4 l4) {
    return {.direction = direction,
            .peers = {std::move(peer)},
            .l4 = std::move(l4),
            .path = "spec.rule"};
  }

  Translator t;
};

TEST_F(WarningsTest, PeerSelectorThatNoPodHasEverMatched) {
  EXPECT_THAT(warnings({rule(Direction::kIngress, labels("x", "client"),
                             {.any = true})},
                       {true, false}),
              ElementsAre("spec.rule: no pod has matched a peer selector yet"));
  put_pod("client", "10.0.0.2");
  EXPECT_THAT(warnings(), IsEmpty());
  t.remove_pod("x", "client");
  EXPECT_THAT(warnings(), IsEmpty()) << "one has";
}

TEST_F(WarningsTest, NamedPortThatNoSelectedPodHas) {
  put_pod("client", "10.0.0.2");
  L4 l4;
  l4.named = {{.name = "http", .protocol = kTcp}};
  EXPECT_THAT(warnings({rule(Direction::kIngress, labels("x", "client"), l4)},
                       {true, false}),
              ElementsAre("spec.rule: no selected pod has a port named http"));
  put_pod("web", "10.0.0.1", "http");
  EXPECT_THAT(warnings(), IsEmpty());
}

TEST_F(WarningsTest, EgressToPeersWithNamesAndWithoutDns) {
  put_pod("db", "10.0.0.2");
  L4 sql;
  sql.ranges = {{.protocol = kTcp, .first = 5432, .last = 5432}};
  const auto to_db = rule(Direction::kEgress, labels("x", "db"), sql);
  EXPECT_THAT(warnings({to_db}, {false, true}),
              ElementsAre("pods that it isolates for egress may not ask any "
                          "DNS server (UDP port 53)"));
  L4 dns;
  dns.ranges = {{.protocol = kUdp, .first = 53, .last = 53}};
  const Rule to_anybody = rule(Direction::kEgress, Entity::kWorld, dns);
  EXPECT_THAT(warnings({to_db, to_anybody}, {false, true}), IsEmpty());
  EXPECT_THAT(warnings({to_db}, {false, false}), IsEmpty());
  // Addresses need no names; who may talk to nobody asks for none.
  EXPECT_THAT(
      warnings({rule(Direction::kEgress,
                     CidrPeer{.cidr = *parse_prefix("192.0.2.0/24")}, sql)},
               {false, true}),
      IsEmpty());
  EXPECT_THAT(warnings({}, {false, true}), IsEmpty());
}

TEST_F(WarningsTest, PolicyThatIsNotKnownHasNone) {
  EXPECT_THAT(warnings(), IsEmpty());
}

}  // namespace
}  // namespace sluice::policy
