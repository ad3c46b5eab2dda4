// SPDX-License-Identifier: Apache-2.0
#include "operator/pacing.h"

#include <chrono>
#include <string>

#include <gtest/gtest.h>

#include "lib/kube/api/resource.h"

namespace sluice::op {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCost{20};
constexpr auto kWait = (Pacing::kParts - 1) * kCost;
static_assert(kCost >= Pacing::kExpensive && kWait < Pacing::kHoldMax);

kube::Event changed(const std::string& ns, const std::string& name,
                    int version) {
  return {.type = kube::Event::Type::kSet,
          .resource = &kube::cilium_network_policies(),
          .ns = ns,
          .name = name,
          .uid = "uid of " + name,
          .resource_version = std::to_string(version),
          .object = {},
          .error = {}};
}

kube::Event deleted(const std::string& ns, const std::string& name,
                    int version) {
  auto event = changed(ns, name, version);
  event.type = kube::Event::Type::kDeleted;
  return event;
}

class PacingTest : public ::testing::Test {
 protected:
  // "big" has made an expensive change, in a turn of its own.
  void suspect() {
    EXPECT_FALSE(pacing_.hold(changed("big", "p", 10)));
    pacing_.charge(kCost, now_);
  }
  // It makes another one, alone.
  void spend() {
    suspect();
    EXPECT_TRUE(pacing_.hold(changed("big", "p", 11)));
    EXPECT_EQ(pacing_.take_due(now_).size(), 1);
    pacing_.charge_alone(kCost, now_);
  }
  // The oldest version of "big" that is held; 0: none.
  [[nodiscard]] std::uint64_t oldest() const {
    const auto held = pacing_.held();
    if (held.empty()) {
      return 0;
    }
    EXPECT_EQ(held.size(), 1);
    EXPECT_EQ(held[0].ns, "big");
    EXPECT_EQ(held[0].kind, policy_kind_index("CiliumNetworkPolicy"));
    return held[0].version;
  }

  Pacing pacing_;
  Pacing::Clock::time_point now_ = Pacing::Clock::now();
};

TEST_F(PacingTest, CheapChangesAreNeverHeld) {
  for (int i = 1; i < 10; ++i) {
    EXPECT_FALSE(pacing_.hold(changed("small", "p", i)));
    pacing_.charge(milliseconds(1), now_);
  }
  EXPECT_TRUE(pacing_.take_due(now_).empty());
  EXPECT_EQ(oldest(), 0);
}

TEST_F(PacingTest, ASuspectIsHandedOverAloneAndAtOnce) {
  suspect();
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 11)));
  EXPECT_FALSE(pacing_.hold(changed("small", "p", 12)));
  EXPECT_EQ(oldest(), 11);
  const auto events = pacing_.take_due(now_);
  ASSERT_EQ(events.size(), 1);
  EXPECT_EQ(events.front().ns, "big");
  EXPECT_EQ(oldest(), 0);
}

TEST_F(PacingTest, WhoIsWatchedForAnothersCostWaitsForNothing) {
  EXPECT_FALSE(pacing_.hold(changed("small", "p", 9)));
  suspect();
  for (int version = 12; version < 20; ++version) {
    EXPECT_TRUE(pacing_.hold(changed("small", "p", version)));
    EXPECT_EQ(pacing_.take_due(now_).size(), 1);
    pacing_.charge_alone(milliseconds(1), now_);
  }
  now_ += std::chrono::seconds(31);
  EXPECT_TRUE(pacing_.take_due(now_).empty());
  EXPECT_FALSE(pacing_.hold(changed("small", "p", 20)));
}

TEST_F(PacingTest, CheapChangesBetweenExpensiveOnesFreeNobody) {
  suspect();
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 11)));
  EXPECT_EQ(pacing_.take_due(now_).size(), 1);
  pacing_.charge_alone(milliseconds(0), now_);
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 12)));
  EXPECT_EQ(pacing_.take_due(now_).size(), 1);
  pacing_.charge_alone(kCost, now_);
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 13)));
  EXPECT_TRUE(pacing_.take_due(now_ + kWait - milliseconds(1)).empty());
}

TEST_F(PacingTest, WhoSpendsMuchWaitsForAMultiple) {
  spend();
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 12)));
  EXPECT_TRUE(pacing_.take_due(now_ + kWait - milliseconds(1)).empty());
  EXPECT_FALSE(pacing_.hold(changed("small", "p", 13)));
  EXPECT_EQ(pacing_.take_due(now_ + kWait).size(), 1);
}

TEST_F(PacingTest, NobodyWaitsForever) {
  suspect();
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 11)));
  EXPECT_EQ(pacing_.take_due(now_).size(), 1);
  pacing_.charge_alone(std::chrono::hours(1), now_);
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 12)));
  EXPECT_EQ(pacing_.take_due(now_ + Pacing::kHoldMax).size(), 1);
}

TEST_F(PacingTest, ANewerVersionReplacesAnOlderOneThatStillCountsAsHeld) {
  spend();
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 12)));
  EXPECT_TRUE(pacing_.hold(changed("big", "q", 13)));
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 14)));
  EXPECT_EQ(oldest(), 12);
  const auto events = pacing_.take_due(now_ + Pacing::kHoldMax);
  ASSERT_EQ(events.size(), 2);
  EXPECT_EQ(events.front().resource_version, "14");
  EXPECT_EQ(events.back().name, "q");
  EXPECT_EQ(oldest(), 0);
}

TEST_F(PacingTest, DeletionsKeepTheirPlace) {
  spend();
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 12)));
  EXPECT_TRUE(pacing_.hold(deleted("big", "p", 13)));
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 14)));
  const auto events = pacing_.take_due(now_ + Pacing::kHoldMax);
  ASSERT_EQ(events.size(), 3);
  EXPECT_EQ(events[1].type, kube::Event::Type::kDeleted);
  EXPECT_EQ(events[2].resource_version, "14");
}

TEST_F(PacingTest, WhatIsHeldCanBeTakenAtOnce) {
  spend();
  EXPECT_TRUE(pacing_.take("big").empty());
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 12)));
  EXPECT_TRUE(pacing_.take("small").empty());
  const auto events = pacing_.take("big");
  ASSERT_EQ(events.size(), 1);
  EXPECT_EQ(events.front().resource_version, "12");
  EXPECT_EQ(oldest(), 0);
  // The time of what comes next stays as it was.
  EXPECT_TRUE(pacing_.hold(changed("big", "p", 13)));
  EXPECT_TRUE(pacing_.take_due(now_ + kWait - milliseconds(1)).empty());
  EXPECT_EQ(pacing_.take_due(now_ + kWait).size(), 1);
}

TEST_F(PacingTest, WhatIsHeldIsBounded) {
  spend();
  for (std::size_t i = 0; i < Pacing::kEventsMax; ++i) {
    EXPECT_TRUE(pacing_.take_due(now_).empty());
    EXPECT_TRUE(pacing_.hold(changed("big", "p" + std::to_string(i), 12)));
  }
  EXPECT_EQ(pacing_.take_due(now_).size(), Pacing::kEventsMax);
}

}  // namespace
}  // namespace sluice::op
