// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/translator.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/policy/model.h"
#include "tests/unit/policy/world.h"

namespace sluice::policy {
namespace {

using test::labels;
using test::pod;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::uint8_t kTcp = 6;

kube::Node node(const std::string& name, const std::string& ip) {
  kube::Node result;
  result.name = name;
  result.ips = {*parse_ip(ip)};
  return result;
}

Rule ingress_from(std::vector<PeerSelector> peers, L4 l4 = {.any = true}) {
  Rule rule;
  rule.peers = std::move(peers);
  rule.l4 = std::move(l4);
  rule.path = "spec.ingress[0]";
  return rule;
}

Policy policy(const std::string& name, const std::string& subject,
              std::vector<Rule> rules) {
  Policy result;
  result.key = {.kind = "CiliumNetworkPolicy", .ns = "x", .name = name};
  Spec spec;
  spec.subject = labels("x", subject);
  spec.default_deny = {true, false};
  spec.rules = std::move(rules);
  result.specs = {spec};
  return result;
}

CidrPeer cidr(const std::string& prefix,
              const std::vector<std::string>& except = {}) {
  CidrPeer peer{.cidr = *parse_prefix(prefix), .external_only = true};
  for (const auto& hole : except) {
    peer.except.push_back(*parse_prefix(hole));
  }
  return peer;
}

bool allowed(const Translator& translator, const std::string& subject,
             const std::string& peer, std::uint16_t port = 80,
             const std::string& on_node = "n1") {
  const Model model(translator.snapshot(on_node));
  const auto* endpoint = model.endpoint(subject);
  EXPECT_NE(endpoint, nullptr) << subject;
  return endpoint != nullptr && model
                                    .lookup(*endpoint, Direction::kIngress,
                                            *parse_ip(peer), kTcp, port)
                                    .allowed;
}

class TranslatorTest : public testing::Test {
 protected:
  void SetUp() override {
    t.set(kube::Namespace{.name = "x", .labels = {}, .annotations = {}});
    t.set(node("n1", "10.0.255.1"));
    t.set(node("n2", "10.0.255.2"));
    t.set(pod("web", "web", "10.0.0.1"));
    t.set(pod("client", "client", "10.0.0.2"));
    t.watch_node("n1");
  }
  Translator t;
};

TEST_F(TranslatorTest, PodThatNoSelectorMatchesSendsNothing) {
  t.set(policy("p", "web", {ingress_from({labels("x", "client")})}));
  t.take("n1");
  t.set(pod("other", "other", "10.0.0.3", "n2"));
  const auto changes = t.take("n1");
  EXPECT_TRUE(changes.empty());
  EXPECT_THAT(changes.rules, IsEmpty());
}

TEST_F(TranslatorTest, PeerThatComesIsOneAddressAndNoEntry) {
  t.set(policy("p", "web", {ingress_from({labels("x", "client")})}));
  t.take("n1");
  t.set(pod("client2", "client", "10.0.0.3", "n2"));
  const auto changes = t.take("n1");
  EXPECT_THAT(changes.peers, SizeIs(1));
  EXPECT_THAT(changes.entries, IsEmpty());
  EXPECT_THAT(changes.endpoints, IsEmpty());
  EXPECT_TRUE(allowed(t, "x/web", "10.0.0.3"));
}

TEST_F(TranslatorTest, PolicyThatIsSetAgainUnchangedSendsNothing) {
  const auto p = policy("p", "web", {ingress_from({labels("x", "client")})});
  t.set(p);
  t.take("n1");
  t.set(p);
  EXPECT_TRUE(t.take("n1").empty());
  t.remove_policy(p.key);
  t.set(p);
  EXPECT_TRUE(t.take("n1").empty());
}

TEST_F(TranslatorTest, RemovingThePolicyLeavesOnlyTheNodesOwnAddress) {
  const auto before = t.snapshot("n1");
  const auto p =
      policy("p", "web",
             {ingress_from({labels("x", "client"),
                            cidr("192.0.2.0/24", {"192.0.2.8/29"})})});
  t.set(p);
  EXPECT_GT(t.snapshot("n1").entries.size(), 0U);
  t.remove_policy(p.key);
  const auto after = t.snapshot("n1");
  EXPECT_EQ(after.peers, before.peers);
  EXPECT_THAT(after.entries, IsEmpty());
  EXPECT_THAT(after.rules, IsEmpty());
  EXPECT_THAT(after.sets, IsEmpty());
}

TEST_F(TranslatorTest, ExceptIsOnePrefixNotADecomposition) {
  t.set(policy("p", "web",
               {ingress_from({cidr("0.0.0.0/0", {"203.0.113.7/32"})})}));
  const auto state = t.snapshot("n1");
  const auto prefixes =
      std::ranges::count_if(state.peers, [](const PeerEntry& entry) {
        return entry.prefix.length == 0 ||
               to_string(entry.prefix) == "203.0.113.7/32";
      });
  EXPECT_EQ(prefixes, 2);
  EXPECT_FALSE(allowed(t, "x/web", "203.0.113.7"));
  EXPECT_TRUE(allowed(t, "x/web", "203.0.113.8"));
}

TEST_F(TranslatorTest, PodInsideACidrIsNotTheCidrs) {
  t.set(policy("p", "web", {ingress_from({cidr("10.0.0.0/8")})}));
  EXPECT_FALSE(allowed(t, "x/web", "10.0.0.2"));
  EXPECT_FALSE(allowed(t, "x/web", "10.0.255.2"));
  EXPECT_TRUE(allowed(t, "x/web", "10.9.9.9"));
  // An address that a finished pod gives back is external again.
  auto finished = pod("client", "client", "10.0.0.2");
  finished.finished = true;
  t.set(finished);
  EXPECT_TRUE(allowed(t, "x/web", "10.0.0.2"));
}

TEST_F(TranslatorTest, PodInsideACidrOfItsFullLengthIsNotTheCidrs) {
  t.set(policy("p", "web", {ingress_from({cidr("10.0.0.2/32")})}));
  EXPECT_FALSE(allowed(t, "x/web", "10.0.0.2"));
  t.remove_pod("x", "client");
  EXPECT_TRUE(allowed(t, "x/web", "10.0.0.2"));
  t.set(pod("client", "client", "10.0.0.2"));
  EXPECT_FALSE(allowed(t, "x/web", "10.0.0.2"));
}

TEST_F(TranslatorTest, CidrMatchAllTakesPodsIn) {
  Translator all({.cidr_match_all = true});
  all.set(pod("web", "web", "10.0.0.1"));
  all.set(pod("client", "client", "10.0.0.2"));
  all.set(policy("p", "web", {ingress_from({cidr("10.0.0.0/8")})}));
  EXPECT_TRUE(allowed(all, "x/web", "10.0.0.2"));
}

TEST_F(TranslatorTest, AddressThatMovesFollowsTheNewestPod) {
  t.set(policy("p", "web", {ingress_from({labels("x", "client")})}));
  EXPECT_TRUE(allowed(t, "x/web", "10.0.0.2"));
  // The new owner is seen before the old one is gone.
  t.set(pod("late", "other", "10.0.0.2"));
  EXPECT_FALSE(allowed(t, "x/web", "10.0.0.2"));
  t.remove_pod("x", "client");
  EXPECT_FALSE(allowed(t, "x/web", "10.0.0.2"));
}

// What is left of the old owner may still change, and may be seen last.
TEST_F(TranslatorTest, AddressIsThatOfThePodThatWasMadeLast) {
  t.set(policy("p", "web", {ingress_from({labels("x", "client")})}));
  auto late = pod("late", "other", "10.0.0.2");
  late.created = 2;
  auto old = pod("client", "client", "10.0.0.2");
  old.created = 1;
  t.set(late);
  t.set(old);
  EXPECT_FALSE(allowed(t, "x/web", "10.0.0.2"));
  old.labels["more"] = "labels";
  t.set(old);
  EXPECT_FALSE(allowed(t, "x/web", "10.0.0.2"));
  t.remove_pod("x", "late");
  EXPECT_TRUE(allowed(t, "x/web", "10.0.0.2"));
}

TEST_F(TranslatorTest, AChangeOfAnOldOwnerDoesNotGiveTheAddressBack) {
  t.set(policy("p", "web", {ingress_from({labels("x", "client")})}));
  t.set(pod("late", "other", "10.0.0.2"));
  auto old = pod("client", "client", "10.0.0.2");
  old.labels["more"] = "labels";
  t.set(old);
  EXPECT_FALSE(allowed(t, "x/web", "10.0.0.2"));
}

TEST_F(TranslatorTest, OwnNodeReachesItsPodsAndAnotherDoesNot) {
  t.set(policy("p", "web", {ingress_from({labels("x", "client")})}));
  EXPECT_TRUE(allowed(t, "x/web", "10.0.255.1"));
  EXPECT_FALSE(allowed(t, "x/web", "10.0.255.2"));
  t.set(pod("web2", "web", "10.0.0.9", "n2"));
  EXPECT_FALSE(allowed(t, "x/web2", "10.0.255.1", 80, "n2"));
  EXPECT_TRUE(allowed(t, "x/web2", "10.0.255.2", 80, "n2"));
}

TEST_F(TranslatorTest, PodsWithTheSamePoliciesShareASet) {
  t.set(policy("p", "web", {ingress_from({labels("x", "client")})}));
  t.set(pod("web2", "web", "10.0.0.9"));
  const auto state = t.snapshot("n1");
  ASSERT_THAT(state.sets, SizeIs(1));
  EXPECT_EQ(state.endpoints[1].policy_set, state.endpoints[2].policy_set);
  EXPECT_THAT(state.entries, SizeIs(1));
}

TEST_F(TranslatorTest, OtherNodesGetOnlyTheirOwnEndpointsPolicies) {
  t.set(policy("p", "web", {ingress_from({labels("x", "client")})}));
  t.set(pod("far", "far", "10.0.1.1", "n2"));
  const auto state = t.snapshot("n2");
  EXPECT_THAT(state.endpoints, SizeIs(1));
  EXPECT_THAT(state.entries, IsEmpty());
  EXPECT_THAT(state.rules, IsEmpty());
}

TEST_F(TranslatorTest, SetThatLeavesTheNodeIsWithdrawnAndComesBackWhole) {
  t.set(policy("p", "web", {ingress_from({labels("x", "client")})}));
  State kernel;
  apply(kernel, t.take("n1"));
  t.set(pod("web", "web", "10.0.0.1", "n2"));
  apply(kernel, t.take("n1"));
  EXPECT_THAT(kernel.entries, IsEmpty());
  EXPECT_THAT(kernel.endpoints, SizeIs(1));
  t.set(pod("web", "web", "10.0.0.1", "n1"));
  apply(kernel, t.take("n1"));
  EXPECT_EQ(diff(kernel, t.snapshot("n1")).entries.size(), 0U);
  EXPECT_THAT(kernel.entries, SizeIs(1));
  EXPECT_THAT(kernel.rules, SizeIs(1));
}

TEST_F(TranslatorTest, ManifestNeedNotSpellOutTheNamespaceNameLabel) {
  LabelSelector peer;
  peer.requirements = {
      {.key = "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name",
       .op = Requirement::Op::kIn,
       .values = {"x"}}};
  t.set(policy("p", "web", {ingress_from({peer})}));
  EXPECT_TRUE(allowed(t, "x/web", "10.0.0.2"));
}

TEST_F(TranslatorTest, ExplainNamesTheRuleAndTheNearestMiss) {
  t.set(policy(
      "p", "web",
      {ingress_from(
          {labels("x", "client")},
          {.ranges = {{.protocol = kTcp, .first = 443, .last = 443}}})}));
  const auto answer = t.explain({.subject = "x/web",
                                 .direction = Direction::kIngress,
                                 .peer = *parse_ip("10.0.0.2"),
                                 .protocol = kTcp,
                                 .port = 80});
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->allowed);
  EXPECT_EQ(answer->rule, SLUICE_RULE_DEFAULT_DENY_INGRESS);
  EXPECT_THAT(answer->isolating,
              testing::ElementsAre("CiliumNetworkPolicy/x/p"));
  ASSERT_THAT(answer->near_misses, SizeIs(1));
  EXPECT_EQ(answer->near_misses[0].differs, "port");
  EXPECT_EQ(answer->near_misses[0].detail,
            "allows 443/TCP from this peer, asked 80/TCP");
  EXPECT_FALSE(t.explain({.subject = "x/none", .peer = *parse_ip("10.0.0.2")}));
}

}  // namespace
}  // namespace sluice::policy
