// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <gtest/gtest.h>

#include "agent/apply.h"
#include "tests/unit/agent/world.h"

// Policy sets that the policy map has no room for: they alone are left out, and
// never open.
namespace sluice::agent::test {
namespace {

constexpr std::uint32_t kCapacity = 10;
constexpr std::uint32_t kSmall = 1;  // policy sets
constexpr std::uint32_t kLarge = 2;

EndpointEntry pod(int number, std::uint32_t set) {
  return {.name = "ns/pod" + std::to_string(number),
          .policy_set = set,
          .isolated = {true, false},
          .ips = {*parse_ip(number == 0 ? "10.0.0.200" : "10.0.0.201")}};
}

class Held : public ::testing::Test {
 protected:
  Held() {
    restart();
    // pod0 has the small set, which is in force.
    Transaction first;
    add_entries(first, kSmall, 5, 3);
    first.peers = {{prefix("10.0.0.1/32"), 5}};
    first.endpoints = {{"ns/pod0", pod(0, kSmall)}};
    apply_well(first);
  }

  void restart() {
    auto maps = std::make_unique<FakeMaps>(
        contents_,
        FakeMaps::Options{.capacities = {{Map::kPolicy, kCapacity}}});
    maps_ = maps.get();
    auto created = Applier::create(std::move(maps));
    ASSERT_TRUE(created) << created.error().message;
    applier_ = std::make_unique<Applier>(std::move(*created));
    applier_->bind("ns/pod0", 2);
    applier_->bind("ns/pod1", 3);
  }
  static void add_entries(Transaction& to, std::uint32_t set,
                          std::uint32_t cidr_id, int count) {
    for (int i = 0; i < count; ++i) {
      to.entries.push_back(
          {key(set, cidr_id, static_cast<std::uint16_t>(80 + i)),
           sluice_policy_value{.verdict = SLUICE_VERDICT_ALLOW, .rule = 20}});
    }
  }
  void apply_well(const Transaction& transaction) {
    const auto result = applier_->apply(transaction);
    ASSERT_TRUE(result) << result.error().message;
    apply(wanted_, transaction);
  }
  // pod1 and the large set, with this many entries.
  static Transaction large(int count, std::uint32_t cidr_id = 5) {
    Transaction result;
    add_entries(result, kLarge, cidr_id, count);
    result.endpoints = {{"ns/pod1", pod(1, kLarge)}};
    return result;
  }
  [[nodiscard]] sluice_endpoint_policy record(std::uint32_t ifindex) const {
    return contents_.records.at(ifindex).gen[contents_.epoch & 1];
  }
  [[nodiscard]] std::size_t entries_of(std::uint32_t set) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(contents_.policy, [&](const auto& entry) {
          return SLUICE_POLICY_SET(entry.first.policy_id) == set;
        }));
  }
  void expect_isolated() const {
    EXPECT_TRUE(applier_->shortfalls().contains(kLarge));
    EXPECT_NE(record(3).flags & SLUICE_EP_ISOLATED(SLUICE_INGRESS), 0U);
    EXPECT_EQ(entries_of(kLarge), 0U);
  }
  void expect_all_in_force() const {
    EXPECT_TRUE(applier_->shortfalls().empty());
    EXPECT_EQ(difference(contents_, wanted_, {{"ns/pod0", 2}, {"ns/pod1", 3}}),
              "");
  }

  Contents contents_;
  FakeMaps* maps_ = nullptr;
  std::unique_ptr<Applier> applier_;
  State wanted_;
};

TEST_F(Held, ANewSetIsIsolatedAndTheOthersOfItsTransactionGoOn) {
  auto transaction = large(8);
  transaction.peers = {{prefix("10.0.0.2/32"), 5}};
  apply_well(transaction);
  expect_isolated();
  EXPECT_EQ(contents_.peers.at(prefix("10.0.0.2/32"))[0], 5U);
  EXPECT_EQ(entries_of(kSmall), 3U);
  EXPECT_EQ(applier_->shortfall("ns/pod0"), "");
  EXPECT_EQ(
      applier_->shortfall("ns/pod1"),
      "map policy: 3 of 10 entries are used and its policies need 8 more: "
      "its pods are isolated until there is room");
}

TEST_F(Held, ItIsInForceAsSoonAsThereIsRoom) {
  apply_well(large(8));
  Transaction less;
  less.entries = {{key(kSmall, 5, 82), std::nullopt}};
  apply_well(less);
  EXPECT_TRUE(applier_->retry());
  expect_all_in_force();
}

TEST_F(Held, ItIsInForceAsSoonAsItNeedsLess) {
  apply_well(large(8));
  Transaction less;
  less.entries = {{key(kLarge, 5, 87), std::nullopt}};
  apply_well(less);
  expect_all_in_force();
}

// The set that grows most is left out, whichever is larger.
TEST_F(Held, TheOneThatGrowsMostIsLeftOut) {
  auto transaction = large(6);
  add_entries(transaction, kSmall, 6, 2);
  apply_well(transaction);
  EXPECT_FALSE(applier_->shortfalls().contains(kSmall));
  EXPECT_EQ(entries_of(kSmall), 5U);
  expect_isolated();
}

TEST_F(Held, WhatWasInForceStaysWhileNoAddressMeansSomethingElse) {
  apply_well(large(2));
  auto more = large(8, 6);
  more.peers = {{prefix("10.0.0.9/32"), 6}};
  apply_well(more);
  EXPECT_TRUE(applier_->shortfalls().contains(kLarge));
  EXPECT_EQ(entries_of(kLarge), 2U);
  EXPECT_NE(applier_->shortfall("ns/pod1").find("stays"), std::string::npos);
  // Until one does: what its entries say is then of other addresses.
  Transaction moved;
  moved.peers = {{prefix("10.0.0.1/32"), 7}};
  apply_well(moved);
  expect_isolated();
}

TEST_F(Held, WhatWasInForceDoesNotStayWhereItsIsolationChanges) {
  apply_well(large(2));
  auto more = large(8, 6);
  more.endpoints[0].value->isolated = {false, true};
  apply_well(more);
  expect_isolated();
}

// One that only denies, at a pod that is open otherwise.
TEST_F(Held, ASetThatIsolatesNothingDoesWhenItIsLeftOut) {
  auto transaction = large(8);
  transaction.endpoints[0].value->isolated = {};
  for (auto& entry : transaction.entries) {
    entry.value->verdict = SLUICE_VERDICT_DENY;
  }
  apply_well(transaction);
  expect_isolated();
  EXPECT_EQ(record(3).flags & SLUICE_EP_ISOLATED(SLUICE_EGRESS), 0U);
  Transaction less;
  less.entries = {{key(kLarge, 5, 87), std::nullopt}};
  apply_well(less);
  expect_all_in_force();
}

TEST_F(Held, ARestartAndASnapshotLeaveItOutAgain) {
  apply_well(large(8));
  restart();
  ASSERT_TRUE(applier_->replace(wanted_));
  expect_isolated();
  EXPECT_EQ(entries_of(kSmall), 3U);
}

TEST_F(Held, AFailureInBetweenLosesNothing) {
  apply_well(large(2));
  auto more = large(8, 6);
  more.peers = {{prefix("10.0.0.1/32"), 7}};
  add_entries(more, kSmall, 7, 1);
  maps_->fail_at = maps_->writes;
  EXPECT_FALSE(applier_->apply(more));
  apply(wanted_, more);
  EXPECT_EQ(entries_of(kLarge), 2U);
  maps_->fail_at.reset();
  ASSERT_TRUE(applier_->retry());
  expect_isolated();
  EXPECT_EQ(entries_of(kSmall), 4U);
  Transaction less;
  for (int i = 2; i < 8; ++i) {
    less.entries.push_back(
        {key(kLarge, 6, static_cast<std::uint16_t>(80 + i)), std::nullopt});
  }
  apply_well(less);
  expect_all_in_force();
}

TEST_F(Held, ASetThatGoesIsForgotten) {
  auto transaction = large(8);
  apply_well(transaction);
  for (auto& entry : transaction.entries) {
    entry.value.reset();
  }
  transaction.endpoints = {{"ns/pod1", std::nullopt}};
  apply_well(transaction);
  expect_all_in_force();
}

// Whatever comes: who is not left out gets what is wanted.
class HeldAtRandom : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(HeldAtRandom, ChangesOfOthersAreInForceAtOnce) {
  World world(GetParam());
  Contents contents;
  auto applier = Applier::create(std::make_unique<FakeMaps>(
      contents, FakeMaps::Options{.capacities = {{Map::kPolicy, 40}}}));
  ASSERT_TRUE(applier);
  std::size_t left_out = 0;
  for (int i = 0; i < 40; ++i) {
    const auto [name, ifindex] = world.rebind();
    applier->bind(name, ifindex);
    const auto result = applier->apply(world.transaction(20));
    ASSERT_TRUE(result) << result.error().message;
    left_out += applier->shortfalls().size();
    if (applier->shortfalls().empty()) {
      ASSERT_EQ(difference(contents, world.state, world.bindings), "");
    }
    const auto seen = without(contents, bindings_of(world, *applier, true));
    ASSERT_EQ(view_of(seen, seen.epoch & 1),
              view_of(world.state, bindings_of(world, *applier, false)))
        << "transaction " << i;
  }
  EXPECT_GT(left_out, 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, HeldAtRandom,
                         ::testing::Range<std::uint32_t>(0, 30));

}  // namespace
}  // namespace sluice::agent::test
