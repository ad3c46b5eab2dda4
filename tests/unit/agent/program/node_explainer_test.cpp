// SPDX-License-Identifier: Apache-2.0
#include "agent/program/node_explainer.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/cluster.h"
#include "lib/kube/manifest.h"

// What an agent says without the objects, and what they say.
namespace sluice::agentd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kManifests = R"(
apiVersion: v1
kind: Pod
metadata: {namespace: x, name: a, labels: {app: a}}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: x, name: b, labels: {app: b}}
spec: {nodeName: n1}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: x, name: far, labels: {app: b}}
spec: {nodeName: n2}
status: {phase: Running, podIPs: [{ip: 10.0.1.2}, {ip: "fd00::12"}]}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: x, name: p}
spec:
  endpointSelector: {matchLabels: {app: a}}
  egress:
  - toFQDNs: [{matchPattern: "*.example.com"}, {matchName: a.example.org}]
  ingress:
  - fromEndpoints: [{matchLabels: {app: b}}]
    toPorts: [{ports: [{port: "8000", endPort: 8079, protocol: TCP}]}]
  - fromCIDR: [192.0.2.0/24]
    icmps: [{fields: [{type: 8}]}]
  ingressDeny:
  - fromEndpoints: [{matchLabels: {app: b}}]
    toPorts: [{ports: [{port: "8001", protocol: TCP}]}]
)";

class NodeExplainerTest : public ::testing::Test {
 protected:
  NodeExplainerTest() {
    cluster_.store().set_source("m.yaml",
                                kube::parse_manifest(kManifests, "m.yaml"));
    cluster_.store().commit();
    state_ = cluster_.translator().snapshot("n1");
  }
  [[nodiscard]] Result<node::ExplainView> explain(
      const std::string& from, const std::string& to,
      const std::string& port) const {
    return NodeExplainer(state_, *explain::parse_port(port)).explain(from, to);
  }
  // The receiver's, of the first family.
  [[nodiscard]] node::SideView ingress(const std::string& from,
                                       const std::string& to,
                                       const std::string& port) const {
    const auto view = explain(from, to, port);
    EXPECT_TRUE(view) << view.error().message;
    return view ? view->sides.at(1) : node::SideView{};
  }

  static std::vector<std::string> told(
      const std::vector<node::NearMissView>& misses) {
    std::vector<std::string> result;
    result.reserve(misses.size());
    for (const auto& miss : misses) {
      result.push_back(miss.policy + " " + miss.path + " " + miss.action + " " +
                       miss.differs + ": " + miss.detail);
    }
    std::ranges::sort(result);
    return result;
  }

  cli::Cluster cluster_;
  State state_;
};

TEST_F(NodeExplainerTest, SaysOfItsPodsWhatTheObjectsSay) {
  int judged = 0;
  for (const char* from : {"x/a", "x/b", "10.0.1.2", "192.0.2.1", "fd00::12"}) {
    for (const char* to : {"x/a", "x/b"}) {
      for (const char* port : {"8000/TCP", "8001/TCP", "8079/TCP", "8080/TCP",
                               "8000/UDP", "8/ICMP", "0/ICMP"}) {
        const auto here = explain(from, to, port);
        const auto there =
            cli::explain(cluster_, {.from = from, .to = to, .port = port});
        ASSERT_EQ(here.has_value(), there.has_value()) << from << to << port;
        if (!here) {
          continue;
        }
        EXPECT_EQ(here->port, there->port);
        ASSERT_EQ(here->sides.size(), there->sides.size());
        for (std::size_t i = 0; i < here->sides.size(); ++i) {
          const auto& a = here->sides[i];
          const auto& b = there->sides[i];
          if (!a.judged) {
            EXPECT_THAT(a.unknown, HasSubstr("no pod's of this node"));
            continue;
          }
          ++judged;
          EXPECT_EQ(a.allowed, b.allowed) << from << to << port;
          EXPECT_EQ(a.reason, b.reason);
          EXPECT_EQ(a.policy + a.path, b.policy + b.path);
          EXPECT_EQ(a.entry, b.entry);
          EXPECT_EQ(a.isolated, b.isolated);
          EXPECT_EQ(a.isolating, b.isolating);
        }
      }
    }
  }
  EXPECT_EQ(judged, 99);
}

// An agent has the entries that rules became. Where no other rule overrides a
// part of them, it describes them as the rules themselves are described.
TEST_F(NodeExplainerTest, NearMissesHaveTheSameWords) {
  std::string text = kManifests;
  text.erase(text.find("  ingressDeny:"));
  cluster_.store().set_source("m.yaml", kube::parse_manifest(text, "m.yaml"));
  cluster_.store().commit();
  state_ = cluster_.translator().snapshot("n1");
  std::size_t misses = 0;
  for (const char* from : {"x/b", "10.0.1.2", "192.0.2.1", "fd00::12"}) {
    for (const char* port : {"8000/TCP", "8080/TCP", "8000/UDP", "8/ICMP"}) {
      const auto here = explain(from, "x/a", port);
      const auto there =
          cli::explain(cluster_, {.from = from, .to = "x/a", .port = port});
      ASSERT_EQ(here.has_value(), there.has_value()) << from << port;
      if (!here) {
        continue;
      }
      EXPECT_EQ(told(here->sides.at(1).near_misses),
                told(there->sides.at(1).near_misses))
          << from << " " << port;
      misses += here->sides.at(1).near_misses.size();
    }
  }
  EXPECT_GT(misses, 8U);
}

TEST_F(NodeExplainerTest, ANearMissDiffersInOneThing) {
  const auto port = ingress("x/b", "x/a", "8080/TCP");
  ASSERT_EQ(port.near_misses.size(), 1U);
  EXPECT_EQ(port.near_misses[0].path, "spec.ingress[0]");
  EXPECT_EQ(port.near_misses[0].differs, "port");
  EXPECT_THAT(port.near_misses[0].detail, HasSubstr("80"));

  const auto peer = ingress("192.0.2.1", "x/a", "8000/TCP");
  std::vector<std::string> missed;
  missed.reserve(peer.near_misses.size());
  for (const auto& miss : peer.near_misses) {
    missed.push_back(miss.path + " " + miss.differs);
  }
  std::ranges::sort(missed);
  EXPECT_THAT(missed,
              ElementsAre("spec.ingress[0] peer", "spec.ingress[1] protocol"));

  // What is allowed would be denied for another port.
  const auto allowed = ingress("10.0.1.2", "x/a", "8000/TCP");
  EXPECT_TRUE(allowed.allowed);
  ASSERT_EQ(allowed.near_misses.size(), 1U);
  EXPECT_EQ(allowed.near_misses[0].path, "spec.ingressDeny[0]");
}

TEST_F(NodeExplainerTest, WhatItCannotSayIsAnError) {
  EXPECT_EQ(explain("x/far", "x/a", "80").error().message,
            "--from: x/far is not a pod of this node; give its address");
  EXPECT_EQ(explain("x/a", "", "80").error().message,
            "--to:  is not a pod of this node; give its address");
  EXPECT_EQ(explain("10.0.1.2", "192.0.2.1", "80").error().message,
            "neither end is a pod of this node");
  EXPECT_THAT(explain("x/b", "fd00::1", "80").error().message,
              HasSubstr("no address family in common"));
}

// Whatever names an address has, those that let the pod reach it are told.
TEST_F(NodeExplainerTest, ANamesRuleSaysWhichNamesItIsFor) {
  std::vector<std::uint32_t> selectors;
  for (const auto& name : state_.names) {
    if (name.pattern == "*.example.com") {
      selectors.push_back(name.id);
    }
  }
  const std::vector<std::string> names{"twin.example.net", "b.example.com"};
  const auto view = NodeExplainer(state_, *explain::parse_port("443/TCP"),
                                  [&](const std::string&, const IpAddress&) {
                                    return NodeExplainer::Learned{
                                        .selectors = selectors, .names = names};
                                  })
                        .explain("x/a", "203.0.113.7");
  ASSERT_TRUE(view);
  const auto& side = view->sides.at(0);
  EXPECT_TRUE(side.allowed);
  EXPECT_EQ(side.path, "spec.egress[0]");
  EXPECT_EQ(side.names, names);
  EXPECT_EQ(side.pattern, "*.example.com");
  EXPECT_THAT(side.matched, ElementsAre("b.example.com"));

  const auto other = explain("x/a", "203.0.113.7", "443/TCP");
  ASSERT_TRUE(other);
  EXPECT_FALSE(other->allowed);
  EXPECT_EQ(other->sides.at(0).pattern, "");
}

}  // namespace
}  // namespace sluice::agentd
