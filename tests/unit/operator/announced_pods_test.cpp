// SPDX-License-Identifier: Apache-2.0
#include "operator/announced_pods.h"

#include <gtest/gtest.h>

#include "lib/policy/translator.h"

namespace sluice::op {
namespace {

constexpr const char* kUid = "0b1f6f0e-5b3e-4c55-9a52-3a3f7f5c9d11";
constexpr const char* kOtherUid = "1b1f6f0e-5b3e-4c55-9a52-3a3f7f5c9d11";

kube::Pod pod(const std::string& name, const std::string& node,
              const std::string& ip = {}) {
  kube::Pod result{.ns = "x", .name = name, .node = node};
  if (!ip.empty()) {
    result.ips = {*parse_ip(ip)};
  }
  return result;
}

wire::PodAddress said(const std::string& name, const std::string& ip,
                      const std::string& uid = kUid) {
  wire::PodAddress result{.ns = "x", .name = name, .uid = uid};
  if (!ip.empty()) {
    result.ips = {*parse_ip(ip)};
  }
  return result;
}

class AnnouncedPodsTest : public testing::Test {
 protected:
  AnnouncedPodsTest() {
    translator.set(kube::Node{.name = "n2", .ips = {*parse_ip("192.0.2.2")}});
  }
  // As the API server says it; what the translator is told.
  void seen(const kube::Pod& object, const std::string& uid = kUid) {
    translator.set(pods.seen(object, uid));
    last = pods.seen(object, uid);
  }
  std::size_t announce(const std::string& node,
                       const std::vector<wire::PodAddress>& what,
                       bool begins = false) {
    const auto changed = pods.announce(node, begins, what);
    for (const auto& each : changed) {
      translator.set(each);
    }
    return changed.size();
  }
  // Addresses with which the pod counts.
  std::vector<IpAddress> ips(const std::string& name,
                             const std::string& node = "n1") {
    const auto state = translator.snapshot(node);
    for (const auto& endpoint : state.endpoints) {
      if (endpoint.name == "x/" + name) {
        return endpoint.ips;
      }
    }
    return {};
  }

  policy::Translator translator;
  AnnouncedPods pods{translator};
  kube::Pod last;
};

std::vector<IpAddress> just(const std::string& ip) {
  return {*parse_ip(ip)};
}

TEST_F(AnnouncedPodsTest, AddressCountsUntilTheStatusHasOne) {
  seen(pod("a", "n1"));
  EXPECT_EQ(ips("a"), std::vector<IpAddress>{});
  EXPECT_EQ(announce("n1", {said("a", "10.0.0.1")}), 1U);
  EXPECT_EQ(ips("a"), just("10.0.0.1"));
  auto labelled = pod("a", "n1");
  labelled.labels["k"] = "v";
  seen(labelled);
  EXPECT_EQ(ips("a"), just("10.0.0.1")) << "another change keeps it";
  seen(pod("a", "n1", "10.0.0.9"));
  EXPECT_EQ(ips("a"), just("10.0.0.9")) << "the status wins";
  EXPECT_EQ(announce("n1", {said("a", "10.0.0.1")}), 0U);
  EXPECT_EQ(ips("a"), just("10.0.0.9"));
}

TEST_F(AnnouncedPodsTest, PodMayBeSeenAfterItsAddress) {
  EXPECT_EQ(announce("n1", {said("a", "10.0.0.1")}), 0U);
  seen(pod("a", ""));
  seen(pod("a", "n1"));
  EXPECT_EQ(ips("a"), just("10.0.0.1"));
}

TEST_F(AnnouncedPodsTest, OnlyItsOwnNodeIsBelieved) {
  seen(pod("a", "n1"));
  EXPECT_EQ(announce("n3", {said("a", "10.0.0.1")}), 0U);
  EXPECT_EQ(announce("n1", {said("a", "10.0.0.2")}), 1U);
  EXPECT_EQ(announce("n3", {said("a", "")}), 0U);
  EXPECT_EQ(announce("n3", {}, true), 0U);
  EXPECT_EQ(ips("a"), just("10.0.0.2"));
  // Of a pod that has not been seen, whoever spoke first is found out later.
  EXPECT_EQ(announce("n3", {said("b", "10.0.0.3")}), 0U);
  seen(pod("b", "n1"));
  EXPECT_EQ(ips("b"), std::vector<IpAddress>{});
  EXPECT_EQ(announce("n1", {said("b", "10.0.0.4")}), 1U);
  EXPECT_EQ(ips("b"), just("10.0.0.4"));
}

TEST_F(AnnouncedPodsTest, AnotherPodOfTheNameIsAnother) {
  seen(pod("a", "n1"), kOtherUid);
  EXPECT_EQ(announce("n1", {said("a", "10.0.0.1")}), 0U);
  // A static pod's uid is another one at the API server.
  EXPECT_EQ(announce("n1", {said("a", "10.0.0.1",
                                 "0123456789abcdef0123456789abcdef")}),
            1U);
  EXPECT_EQ(ips("a"), just("10.0.0.1"));
}

TEST_F(AnnouncedPodsTest, AddressesOfNodesAndOfOtherNodesPodsAreNotBelieved) {
  seen(pod("far", "n2", "10.0.2.1"));
  seen(pod("near", "n1", "10.0.1.1"));
  seen(pod("a", "n1"));
  for (const char* taken : {"10.0.2.1", "192.0.2.2"}) {
    EXPECT_EQ(announce("n1", {said("a", taken)}), 0U) << taken;
    EXPECT_EQ(ips("a"), std::vector<IpAddress>{}) << taken;
  }
  // Who has an address on a node its agent knows best.
  EXPECT_EQ(announce("n1", {said("a", "10.0.1.1")}), 1U);
}

TEST_F(AnnouncedPodsTest, HostNetworkAndFinishedPodsHaveNone) {
  auto host = pod("h", "n1");
  host.host_network = true;
  auto over = pod("f", "n1");
  over.finished = true;
  seen(host);
  seen(over);
  EXPECT_EQ(announce("n1", {said("h", "10.0.0.1"), said("f", "10.0.0.2")}), 0U);
}

TEST_F(AnnouncedPodsTest, WithdrawnOrNotToldAgainItIsVoid) {
  for (const char* name : {"a", "b", "c"}) {
    seen(pod(name, "n1"));
  }
  announce("n1", {said("a", "10.0.0.1"), said("b", "10.0.0.2"),
                  said("c", "10.0.0.3")});
  EXPECT_EQ(announce("n1", {said("a", "")}), 1U);
  EXPECT_EQ(ips("a"), std::vector<IpAddress>{});
  announce("n1", {said("b", "10.0.0.2")}, true);
  EXPECT_EQ(ips("b"), just("10.0.0.2"));
  EXPECT_EQ(ips("c"), std::vector<IpAddress>{});
  EXPECT_EQ(announce("n1", {}, true), 1U);
  EXPECT_EQ(ips("b"), std::vector<IpAddress>{});
  pods.forget("x", "b");
  EXPECT_EQ(announce("n1", {said("b", "10.0.0.2")}), 0U) << "deleted";
}

}  // namespace
}  // namespace sluice::op
