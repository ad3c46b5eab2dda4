// SPDX-License-Identifier: Apache-2.0
#include <cerrno>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/policy/model.h"
#include "lib/policy/translator.h"
#include "tests/unit/policy/world.h"

// A policy set that would have more entries than a set may have costs its own
// pods alone.
namespace sluice::policy {
namespace {

using test::labels;
using test::pod;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint8_t kTcp = 6;
constexpr std::size_t kMost = 64;

Rule from(PeerSelector peer, std::uint16_t port) {
  Rule rule;
  rule.peers = {std::move(peer)};
  rule.l4.ranges = {{.protocol = kTcp, .first = port, .last = port}};
  rule.path = "spec.ingress[" + std::to_string(port) + "]";
  return rule;
}

Policy policy(const std::string& name, const std::string& subject,
              std::vector<Rule> rules) {
  Policy result;
  result.key = {.kind = "NetworkPolicy", .ns = "x", .name = name};
  result.specs.resize(1);
  result.specs[0].subject = labels("x", subject);
  result.specs[0].default_deny = {true, false};
  result.specs[0].rules = std::move(rules);
  return result;
}

// CIDRs each within the one before, with a port of its own each: the innermost
// has the ports of all.
std::vector<Rule> nested(int depth, std::uint16_t port) {
  std::vector<Rule> rules;
  rules.reserve(static_cast<std::size_t>(depth));
  for (int i = 0; i < depth; ++i) {
    rules.push_back(from(
        CidrPeer{.cidr = *parse_prefix("8.0.0.0/" + std::to_string(8 + i))},
        static_cast<std::uint16_t>(port + i)));
  }
  return rules;
}

class BoundTest : public testing::Test {
 protected:
  explicit BoundTest(std::size_t share = 0)
      : t({.max_set_entries = kMost, .max_namespace_entries = share}) {
    t.set(kube::Namespace{.name = "x", .labels = {}, .annotations = {}});
    t.set(pod("web", "web", "10.0.0.1"));
    t.set(pod("db", "db", "10.0.0.2"));
    t.set(pod("client", "client", "10.0.0.3"));
    t.watch_node("n1");
    t.set(policy("good", "web", {from(labels("x", "client"), 80)}));
  }

  // What a node has that is told of changes only, which must be all there is.
  const State& follow() {
    apply(node_, t.take("n1"));
    const auto all = t.snapshot("n1");
    EXPECT_EQ(node_.entries, all.entries);
    EXPECT_EQ(node_.endpoints, all.endpoints);
    EXPECT_EQ(node_.peers, all.peers);
    EXPECT_EQ(node_.sets, all.sets);
    return node_;
  }
  bool allowed(const std::string& subject, const std::string& peer,
               std::uint16_t port) {
    const Model model(follow());
    const auto* endpoint = model.endpoint(subject);
    return endpoint != nullptr && model
                                      .lookup(*endpoint, Direction::kIngress,
                                              *parse_ip(peer), kTcp, port)
                                      .allowed;
  }
  std::string shortfall(const std::string& name) {
    return t.shortfall({.kind = "NetworkPolicy", .ns = "x", .name = name});
  }

  Translator t;
  State node_;
};

TEST_F(BoundTest, SetsThatFitTogetherOnlyCountForThemselves) {
  t.set(policy("a", "db", nested(9, 1000)));
  EXPECT_TRUE(allowed("x/db", "8.1.1.1", 1000));
  EXPECT_THAT(shortfall("a"), IsEmpty());
}

TEST_F(BoundTest, SetOverTheBoundIsolatesItsOwnPodsAndNobodyElse) {
  t.set(policy("a", "db", nested(9, 1000)));
  ASSERT_TRUE(allowed("x/db", "8.1.1.1", 1000));
  t.set(policy("b", "db", nested(9, 2000)));
  EXPECT_FALSE(allowed("x/db", "8.1.1.1", 1000));
  EXPECT_TRUE(allowed("x/web", "10.0.0.3", 80));
  EXPECT_THAT(shortfall("a"), HasSubstr("x/db is isolated: its policies need "
                                        "more than 64 policy-map entries"));
  EXPECT_THAT(shortfall("b"), HasSubstr("x/db"));
  EXPECT_THAT(shortfall("good"), IsEmpty());
  for (const auto& set : follow().sets) {
    EXPECT_EQ(set.problem.empty(), set.policies.size() == 1) << set.id;
  }
  // The others go on, and what fits again is enforced again.
  t.set(pod("client2", "client", "10.0.0.4", "n2"));
  EXPECT_TRUE(allowed("x/web", "10.0.0.4", 80));
  t.remove_policy({.kind = "NetworkPolicy", .ns = "x", .name = "b"});
  EXPECT_TRUE(allowed("x/db", "8.1.1.1", 1000));
  EXPECT_THAT(shortfall("a"), IsEmpty());
}

TEST_F(BoundTest, RulesThatDenyDoNotOpenTheirPods) {
  auto deny = policy("deny", "db", nested(9, 1000));
  auto more = policy("more", "db", nested(9, 2000));
  for (auto* each : {&deny, &more}) {
    each->specs[0].default_deny = {};
    for (auto& rule : each->specs[0].rules) {
      rule.action = Action::kDeny;
    }
  }
  t.set(deny);
  ASSERT_FALSE(allowed("x/db", "8.1.1.1", 1000));
  ASSERT_TRUE(allowed("x/db", "10.0.0.3", 80));
  t.set(more);
  EXPECT_FALSE(allowed("x/db", "8.1.1.1", 1000));
  EXPECT_FALSE(allowed("x/db", "10.0.0.3", 80));
  t.remove_policy(more.key);
  EXPECT_TRUE(allowed("x/db", "10.0.0.3", 80));
}

// Every pod is a class of its own to these rules.
TEST_F(BoundTest, PeersThatComeMayPutASetOverItsBoundAndThoseThatGoBack) {
  std::vector<Rule> rules;
  for (int i = 0; i < 40; ++i) {
    rules.push_back(from(labels("x", "p" + std::to_string(i)),
                         static_cast<std::uint16_t>(1000 + (2 * i))));
    rules.push_back(from(labels("x", "p" + std::to_string(i)),
                         static_cast<std::uint16_t>(3000 + (2 * i))));
  }
  t.set(policy("wide", "db", rules));
  for (int i = 0; i < 32; ++i) {
    t.set(pod("p" + std::to_string(i), "p" + std::to_string(i),
              "10.0.1." + std::to_string(i), "n2"));
  }
  ASSERT_TRUE(allowed("x/db", "10.0.1.5", 1010));
  t.set(pod("p33", "p33", "10.0.1.33", "n2"));
  EXPECT_FALSE(allowed("x/db", "10.0.1.5", 1010));
  EXPECT_TRUE(allowed("x/web", "10.0.0.3", 80));
  EXPECT_THAT(shortfall("wide"), HasSubstr("more than 64"));
  t.set(pod("p34", "p34", "10.0.1.34", "n2"));
  EXPECT_FALSE(allowed("x/db", "10.0.1.5", 1010));
  for (const char* name : {"p33", "p34"}) {
    t.remove_pod("x", name);
  }
  EXPECT_TRUE(allowed("x/db", "10.0.1.5", 1010));
  EXPECT_THAT(shortfall("wide"), IsEmpty());
}

TEST_F(BoundTest, ExplainsWhyPodsAreIsolated) {
  t.set(policy("a", "db", nested(16, 1000)));
  const auto answer = t.explain({.subject = "x/db",
                                 .direction = Direction::kIngress,
                                 .peer = *parse_ip("8.1.1.1"),
                                 .protocol = kTcp,
                                 .port = 1000});
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->allowed);
  EXPECT_TRUE(answer->isolated);
  EXPECT_THAT(answer->problem, HasSubstr("more than 64"));
}

TEST_F(BoundTest, PolicyThatIsTooLargeByItselfIsToldFromOneThatIsNot) {
  EXPECT_TRUE(t.check_size(policy("a", "db", nested(9, 1000))));
  const auto checked = t.check_size(policy("a", "db", nested(16, 1000)));
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, E2BIG);
  EXPECT_THAT(checked.error().message,
              HasSubstr("more than 64 policy-map entries"));
  // The product says no, but they lie beside each other.
  std::vector<Rule> rules;
  rules.reserve(40);
  for (int i = 0; i < 40; ++i) {
    rules.push_back(from(
        CidrPeer{.cidr = *parse_prefix(std::to_string(i + 20) + ".0.0.0/8")},
        static_cast<std::uint16_t>(1000 + (2 * i))));
  }
  EXPECT_TRUE(t.check_size(policy("a", "db", rules)));
}

// Excepts need no entries, but elements of the maps of prefixes.
TEST_F(BoundTest, PolicyWithTooManyExceptsIsTooLarge) {
  const auto excepts = [](int count) {
    CidrPeer peer{.cidr = *parse_prefix("10.0.0.0/8")};
    for (int i = 0; i < count; ++i) {
      peer.except.push_back(
          *parse_prefix("10." + std::to_string(i) + ".0.0/16"));
    }
    return policy("a", "db", {from(peer, 80)});
  };
  EXPECT_TRUE(t.check_size(excepts(63)));
  const auto checked = t.check_size(excepts(64));
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code, E2BIG);
  EXPECT_EQ(checked.error().message,
            "it names 65 CIDRs and excepts, and may name 64");
}

// ---- a namespace's share

constexpr std::size_t kShare = 100;

// nested(9) needs 45 entries: the good policy and two such sets fit.
class ShareTest : public BoundTest {
 protected:
  ShareTest() : BoundTest(kShare) {
    for (const char* name : {"one", "two", "three"}) {
      t.set(pod(name, name, "10.0.2." + std::to_string(name[1])));
    }
    auto other = pod("other", "other", "10.0.3.1");
    other.ns = "y";
    t.set(other);
  }
  bool has_rules(const std::string& name) {
    return allowed("x/" + name, "8.1.1.1", 1000);
  }
};

TEST_F(ShareTest, SetThatGrewLastIsIsolatedAndAllOthersGoOn) {
  t.set(policy("one", "one", nested(9, 1000)));
  t.set(policy("two", "two", nested(9, 1000)));
  ASSERT_TRUE(has_rules("one") && has_rules("two"));
  t.set(policy("three", "three", nested(9, 1000)));
  EXPECT_TRUE(has_rules("one") && has_rules("two"));
  EXPECT_FALSE(has_rules("three"));
  EXPECT_TRUE(allowed("x/web", "10.0.0.3", 80));
  EXPECT_THAT(
      shortfall("three"),
      testing::MatchesRegex(
          "x/three is isolated: its policies need more than [0-9]+ policy-map "
          "entries \\(after [0-9]+ of [0-9]+ peer classes\\), which is what "
          "namespace x has left of its 100; its other pods' policies have "
          "[0-9]+"));
  EXPECT_THAT(shortfall("one"), IsEmpty());
  // Another namespace has a share of its own.
  auto other = policy("three", "other", nested(9, 1000));
  other.key.ns = "y";
  other.specs[0].subject = labels("y", "other");
  t.set(other);
  EXPECT_TRUE(allowed("y/other", "8.1.1.1", 1000));
}

TEST_F(ShareTest, WhatOthersGiveBackIsUsedAtOnce) {
  for (const char* name : {"one", "two", "three"}) {
    t.set(policy(name, name, nested(9, 1000)));
    follow();
  }
  ASSERT_FALSE(has_rules("three"));
  t.set(policy("one", "one", nested(8, 1000)));
  EXPECT_FALSE(has_rules("three"));
  t.set(policy("one", "one", nested(1, 1000)));
  EXPECT_TRUE(has_rules("one") && has_rules("two") && has_rules("three"));
  EXPECT_THAT(shortfall("three"), IsEmpty());
  // A set that grows again is the one that grew last.
  t.set(policy("one", "one", nested(9, 1000)));
  EXPECT_FALSE(has_rules("one"));
  EXPECT_TRUE(has_rules("two") && has_rules("three"));
  t.remove_pod("x", "two");
  EXPECT_TRUE(has_rules("one") && has_rules("three"));
}

// Whichever of the two is translated first.
TEST_F(ShareTest, SetsThatShrinkMakeRoomInTheSameTransaction) {
  t.set(policy("one", "one", nested(9, 1000)));
  t.set(policy("two", "two", nested(9, 1000)));
  t.set(policy("three", "three", nested(1, 1000)));
  ASSERT_TRUE(has_rules("one") && has_rules("two") && has_rules("three"));
  t.set(policy("one", "one", nested(1, 1000)));
  t.set(policy("three", "three", nested(9, 1000)));
  EXPECT_TRUE(has_rules("one") && has_rules("two") && has_rules("three"));
  t.set(policy("three", "three", nested(1, 1000)));
  t.set(policy("one", "one", nested(9, 1000)));
  EXPECT_TRUE(has_rules("one") && has_rules("two") && has_rules("three"));
  // A pod whose set changes with its labels does not count twice.
  t.set(pod("two", "three", "10.0.2." + std::to_string('w')));
  t.set(policy("two", "three", nested(9, 1000)));
  EXPECT_TRUE(has_rules("one") && has_rules("three"));
}

TEST_F(ShareTest, PoliciesOfTheClusterAloneCountToNobody) {
  auto wide = policy("wide", "other", nested(8, 1000));
  wide.key.kind = "ClusterNetworkPolicy";
  wide.key.ns.clear();
  for (const char* app : {"one", "two", "three"}) {
    wide.key.name = app;
    wide.specs[0].subject = labels("x", app);
    t.set(wide);
  }
  EXPECT_TRUE(has_rules("one") && has_rules("two") && has_rules("three"));
  // Together with one of the namespace they count.
  t.set(policy("one", "one", nested(1, 5000)));
  t.set(policy("two", "two", nested(1, 5000)));
  EXPECT_TRUE(has_rules("one") && has_rules("two") && has_rules("three"));
  t.set(policy("three", "three", nested(1, 5000)));
  EXPECT_FALSE(has_rules("three"));
}

TEST_F(ShareTest, PolicyBeyondTheShareByItselfIsTooLarge) {
  const Translator narrow(
      {.max_set_entries = 0, .max_namespace_entries = kMost});
  auto huge = policy("a", "db", nested(16, 1000));
  EXPECT_FALSE(narrow.check_size(huge));
  huge.key.ns.clear();
  EXPECT_TRUE(narrow.check_size(huge));
}

// 5,000 rules that become 3.6 million entries otherwise.
TEST(Bound, IsFoundOutBeforeMemoryIsSpent) {
  std::vector<Rule> rules;
  for (int i = 0; i < 5000; ++i) {
    const int length = 8 + (i % 25);
    const auto prefix = "8." + std::to_string(i / 25) + ".0.0/" +
                        std::to_string(length < 16 ? 16 : length);
    rules.push_back(from(CidrPeer{.cidr = *parse_prefix(prefix)},
                         static_cast<std::uint16_t>(1000 + (2 * i))));
    rules.push_back(from(CidrPeer{.cidr = *parse_prefix("8.0.0.0/8")},
                         static_cast<std::uint16_t>(20000 + (2 * i))));
  }
  const Translator t;
  EXPECT_FALSE(t.check_size(policy("huge", "db", rules)));
}

TEST(Bound, IsOff) {
  const Translator t({.max_set_entries = 0});
  EXPECT_TRUE(t.check_size(policy("a", "db", nested(24, 1000))));
}

}  // namespace
}  // namespace sluice::policy
