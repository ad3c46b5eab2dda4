// SPDX-License-Identifier: Apache-2.0
#include "operator/enforcement.h"

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::op {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TakenIn at(std::uint64_t version) {
  return {.versions = {version, version, version, version}, .held = {}};
}

wire::Ack applied(std::uint64_t revision) {
  return {.received = revision, .applied = revision, .failures = {}};
}

// ---- NodeProgress -----------------------------------------------------------

class NodeProgressTest : public ::testing::Test {
 protected:
  NodeProgressTest() { progress_.advance(at(10)); }

  void give_snapshot() {
    progress_.connected("n", false);
    progress_.snapshot("n", 1);
    progress_.acknowledged("n", applied(1));
  }
  [[nodiscard]] std::uint64_t in_force() const {
    const auto report = progress_.report("n");
    return report.in_force.empty() ? 0 : report.in_force.front();
  }

  NodeProgress progress_;
};

TEST_F(NodeProgressTest, NothingIsInForceBeforeTheSnapshotIs) {
  progress_.connected("n", false);
  EXPECT_EQ(in_force(), 0U);
  progress_.snapshot("n", 1);
  EXPECT_EQ(in_force(), 0U);
  progress_.acknowledged("n", {.received = 1, .applied = 0, .failures = {}});
  EXPECT_EQ(in_force(), 0U);
  progress_.acknowledged("n", applied(1));
  EXPECT_EQ(in_force(), 10U);
}

TEST_F(NodeProgressTest, WhatWasHeldBackIsReportedUntilItIsApplied) {
  give_snapshot();
  progress_.advance({.versions = {12, 12, 12, 12},
                     .held = {{.ns = "big", .kind = 0, .version = 11}}});
  EXPECT_EQ(in_force(), 12U);
  EXPECT_EQ(progress_.report("n").held.size(), 1);
  progress_.sent("n", 2);
  progress_.advance(at(13));
  EXPECT_EQ(in_force(), 12U);
  EXPECT_EQ(progress_.report("n").held.size(), 1);
  progress_.acknowledged("n", applied(2));
  EXPECT_EQ(in_force(), 13U);
  EXPECT_TRUE(progress_.report("n").held.empty());
}

// A full map, for weeks.
TEST_F(NodeProgressTest, OneThatAppliesNothingIsNotSaidToHaveAnything) {
  give_snapshot();
  for (std::uint64_t revision = 2; revision < 10'000; ++revision) {
    progress_.sent("n", revision);
    progress_.advance(at(9 + revision));
    progress_.acknowledged(
        "n", {.received = revision, .applied = 1, .failures = {}});
    ASSERT_EQ(in_force(), 10U);
  }
  progress_.acknowledged("n", applied(5));
  EXPECT_EQ(in_force(), 14U);
  // Of so many only the end is known.
  progress_.acknowledged("n", applied(5'000));
  EXPECT_GE(in_force(), 14U);
  EXPECT_LE(in_force(), 5'009U);
  progress_.acknowledged("n", applied(9'999));
  EXPECT_EQ(in_force(), 10'008U);
}

TEST_F(NodeProgressTest, TransactionsWithoutAPolicyBetweenThemCountAsOne) {
  give_snapshot();
  progress_.sent("n", 2);
  progress_.sent("n", 3);
  progress_.advance(at(11));
  progress_.acknowledged("n", applied(2));
  EXPECT_EQ(in_force(), 10U);
  progress_.acknowledged("n", applied(3));
  EXPECT_EQ(in_force(), 11U);
}

TEST_F(NodeProgressTest, WhatConcernsNobodyIsInForceEverywhereAtOnce) {
  give_snapshot();
  progress_.advance(at(11));
  EXPECT_EQ(in_force(), 11U);
}

TEST_F(NodeProgressTest, OldestTransactionThatIsNotAppliedHoldsTheRest) {
  give_snapshot();
  progress_.sent("n", 2);
  progress_.advance(at(11));
  progress_.sent("n", 3);
  progress_.advance(at(12));
  EXPECT_EQ(in_force(), 10U);
  progress_.acknowledged("n", {.received = 3, .applied = 2, .failures = {}});
  EXPECT_EQ(in_force(), 11U);
  progress_.acknowledged("n", applied(3));
  EXPECT_EQ(in_force(), 12U);
}

TEST_F(NodeProgressTest, NewSnapshotVoidsWhatWasAcknowledged) {
  give_snapshot();
  progress_.disconnected("n");
  EXPECT_FALSE(progress_.report("n").connected);
  progress_.connected("n", false);
  EXPECT_EQ(in_force(), 0U);
  // Nobody gets it: the snapshot has it.
  progress_.sent("n", 2);
  progress_.snapshot("n", 3);
  progress_.acknowledged("n", applied(3));
  EXPECT_EQ(in_force(), 10U);
}

TEST_F(NodeProgressTest, ResumedAgentGoesOnWhereItWas) {
  give_snapshot();
  progress_.sent("n", 2);
  progress_.advance(at(11));
  progress_.disconnected("n");
  progress_.connected("n", true);
  EXPECT_EQ(in_force(), 10U);
  progress_.acknowledged("n", applied(2));
  EXPECT_EQ(in_force(), 11U);
}

TEST_F(NodeProgressTest, TellsWhichNodesChanged) {
  progress_.connected("a", false);
  progress_.connected("b", false);
  EXPECT_THAT(progress_.take_changed(), ElementsAre("a", "b"));
  EXPECT_THAT(progress_.take_changed(), IsEmpty());
  progress_.advance(at(10));
  EXPECT_THAT(progress_.take_changed(), IsEmpty());
  progress_.advance(at(11));
  EXPECT_THAT(progress_.take_changed(), ElementsAre("a", "b"));
  progress_.forget("a");
  EXPECT_THAT(progress_.take_changed(), ElementsAre("a"));
  EXPECT_THAT(progress_.nodes(), UnorderedElementsAre("b"));
}

// ---- Enforcement ------------------------------------------------------------

class EnforcementTest : public ::testing::Test {
 protected:
  EnforcementTest() {
    policy_.key = {.kind = "CiliumNetworkPolicy", .ns = "x", .name = "p"};
    policy_.uid = "u";
    policy_.generation = 1;
    policy_.resource_version = 20;
    policy_.valid = true;
    subjects_ = {{"n1", {"a"}}, {"n2", {"b"}}};
  }

  void say(const std::string& replica, const std::string& node,
           std::uint64_t version, std::vector<wire::Failure> failures = {},
           bool connected = true) {
    const auto versions = at(version).versions;
    enforcement_.set(replica, {.node = node,
                               .connected = connected,
                               .in_force = {versions.begin(), versions.end()},
                               .failures = std::move(failures)});
  }
  Enforced judge(milliseconds after = {},
                 const std::optional<Enforced>& shown = std::nullopt) {
    return enforcement_.judge(
        policy_,
        [&](const auto& visit) {
          for (const auto& [node, pods] : subjects_) {
            for (const auto& name : pods) {
              kube::Pod pod;
              pod.ns = "x";
              pod.name = name;
              pod.node = node;
              // Names stay where they are, as those of the translator do.
              visit(pods_.emplace_back(std::move(pod)));
            }
          }
        },
        shown, begin_ + after);
  }

  Enforcement enforcement_;
  PolicyObject policy_;
  std::map<std::string, std::set<std::string>> subjects_;
  std::deque<kube::Pod> pods_;
  Clock::time_point begin_ = Clock::now();
};

TEST_F(EnforcementTest, EveryNodeWithPodsItSelectsMustHaveIt) {
  say("", "n1", 20);
  say("", "n2", 19);
  auto result = judge();
  EXPECT_FALSE(result.enforced);
  EXPECT_EQ(result.reason, "Pending");
  EXPECT_EQ(result.message, "1/2 nodes; n2: on its way");
  say("", "n2", 21);
  result = judge();
  EXPECT_TRUE(result.enforced);
  EXPECT_EQ(result.message, "2/2 nodes");
}

TEST_F(EnforcementTest, PolicyThatSelectsNobodyIsEnforced) {
  subjects_.clear();
  EXPECT_TRUE(judge().enforced);
  EXPECT_EQ(judge().message, "no pods are selected");
}

TEST_F(EnforcementTest, AgentsOfOtherReplicasCount) {
  say("", "n1", 20);
  say("r", "n2", 20);
  EXPECT_TRUE(judge().enforced);
  // What is left of an agent that went from one replica to the other.
  say("", "n2", 3, {}, false);
  EXPECT_TRUE(judge().enforced);
  enforcement_.forget("r");
  EXPECT_TRUE(judge().enforced) << "for a while";
  EXPECT_FALSE(judge(Enforcement::kPatience).enforced);
  EXPECT_EQ(judge(Enforcement::kPatience).reason, "AgentUnreachable");
}

TEST_F(EnforcementTest, NodeWithoutAgentIsNamed) {
  say("", "n1", 20);
  const auto result = judge();
  EXPECT_FALSE(result.enforced);
  EXPECT_EQ(result.reason, "AgentUnreachable");
  EXPECT_EQ(result.message, "1/2 nodes; n2: no agent is connected");
}

TEST_F(EnforcementTest, FailureIsToldAtOnce) {
  say("", "n1", 20);
  say("", "n2", 20);
  ASSERT_TRUE(judge().enforced);
  policy_.generation = 2;
  policy_.resource_version = 30;
  say("", "n1", 30);
  say("", "n2", 20,
      {{.policy_set = 0,
        .endpoint = {},
        .message = "map policy: full, has 4, needs 9"}});
  const auto result = judge();
  EXPECT_EQ(result.reason, "ApplyFailed");
  EXPECT_THAT(result.message, HasSubstr("n2: map policy: full"));
}

TEST_F(EnforcementTest, PodWithoutInterfaceIsNotEnforced) {
  say("", "n1", 20);
  say("", "n2", 20,
      {{.policy_set = 0, .endpoint = "x/b", .message = "no veth"}});
  EXPECT_EQ(judge().message, "1/2 nodes; n2: x/b: no veth");
  EXPECT_EQ(judge().reason, "ApplyFailed");
  subjects_["n2"] = {"other"};
  EXPECT_TRUE(judge().enforced);
}

TEST_F(EnforcementTest,
       WhatAReplicaHoldsBackIsNotEnforcedAndNothingElseIsLate) {
  const auto kind =
      static_cast<std::uint32_t>(policy_kind_index(policy_.key.kind));
  const auto holds = [&](const std::string& ns, std::uint32_t of_kind,
                         std::uint64_t version) {
    NodeProgress progress;
    progress.connected("n1", true);
    progress.advance(
        {.versions = {90, 90, 90, 90},
         .held = {{.ns = ns, .kind = of_kind, .version = version}}});
    enforcement_.set("", progress.report("n1"));
    return judge(Enforcement::kPatience * 2).reason;
  };
  subjects_.erase("n2");
  const auto version = policy_.resource_version;
  EXPECT_EQ(holds(policy_.key.ns, kind, version), "Pending");
  EXPECT_EQ(holds(policy_.key.ns, kind, version - 1), "Pending");
  EXPECT_EQ(holds(policy_.key.ns, kind, version + 1), "Enforced");
  EXPECT_EQ(holds("other", kind, version), "Enforced");
  EXPECT_EQ(holds(policy_.key.ns, (kind + 1) % kPolicyKinds, version),
            "Enforced");
}

TEST_F(EnforcementTest, NodeThatLagsForAMomentChangesNothing) {
  say("", "n1", 20);
  say("", "n2", 20);
  ASSERT_TRUE(judge().enforced);
  subjects_["n3"] = {"new"};
  say("", "n3", 19);
  EXPECT_TRUE(judge(milliseconds(1)).enforced);
  EXPECT_FALSE(judge(Enforcement::kPatience + milliseconds(1)).enforced);
}

TEST_F(EnforcementTest, NewVersionIsNotEnforcedUntilItIs) {
  say("", "n1", 20);
  say("", "n2", 20);
  ASSERT_TRUE(judge().enforced);
  policy_.generation = 2;
  policy_.resource_version = 21;
  EXPECT_FALSE(judge().enforced);
  policy_.generation = 1;
  policy_.uid = "another object of the same name";
  EXPECT_FALSE(judge().enforced);
}

TEST_F(EnforcementTest, NewLeaderGoesOnFromWhatIsShown) {
  const Enforced shown{
      .enforced = true, .reason = "Enforced", .message = "2/2 nodes"};
  EXPECT_EQ(judge({}, shown), shown) << "nobody has reported yet";
  EXPECT_FALSE(judge(Enforcement::kPatience, shown).enforced);
}

TEST_F(EnforcementTest, VersionThatIsNoNumberIsNeverSaidToBeEnforced) {
  policy_.resource_version = 0;
  say("", "n1", 20);
  say("", "n2", 20);
  EXPECT_FALSE(judge().enforced);
}

TEST_F(EnforcementTest, ManyNodesAreCountedAndAFewNamed) {
  subjects_.clear();
  for (int i = 0; i < 9; ++i) {
    subjects_["m" + std::to_string(i)] = {"a"};
  }
  EXPECT_THAT(judge().message,
              HasSubstr("0/9 nodes; m0: no agent is connected"));
  EXPECT_THAT(judge().message, HasSubstr("and 6 more"));
}

TEST_F(EnforcementTest, ForgottenNodeIsUnknown) {
  say("", "n1", 20);
  say("", "n2", 20);
  ASSERT_TRUE(judge().enforced);
  enforcement_.set("", NodeProgress().report("n2"));
  EXPECT_TRUE(judge(milliseconds(1)).enforced) << "for a while";
  EXPECT_FALSE(judge(Enforcement::kPatience + milliseconds(1)).enforced);
}

}  // namespace
}  // namespace sluice::op
