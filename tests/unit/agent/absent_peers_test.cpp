// SPDX-License-Identifier: Apache-2.0
#include "agent/absent_peers.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "agent/apply.h"
#include "tests/unit/agent/world.h"

// Peers that a map has no room for: they cost the policy sets that need them,
// and never open anything.
namespace sluice::agent::test {
namespace {

constexpr std::uint32_t kRoom = 6;   // elements of peers4 and of prefixes4
constexpr std::uint32_t kOther = 1;  // policy sets
constexpr std::uint32_t kGreedy = 2;

EndpointEntry pod(int number, std::uint32_t set) {
  return {.name = "ns/pod" + std::to_string(number),
          .policy_set = set,
          .isolated = {true, false},
          .ips = {*parse_ip(number == 0 ? "10.0.0.200" : "10.0.0.201")}};
}

IpPrefix host(int number) {
  return prefix(("10.0.1." + std::to_string(number) + "/32").c_str());
}

class Absent : public ::testing::Test {
 protected:
  Absent() {
    restart();
    // pod0 allows one address, which is in force.
    Transaction first;
    first.peers = {{prefix("10.0.0.1/32"), 5}};
    first.entries = {entry(kOther, 5)};
    first.endpoints = {{"ns/pod0", pod(0, kOther)}};
    apply_well(first);
  }
  void restart() {
    auto maps = std::make_unique<FakeMaps>(
        contents_, FakeMaps::Options{.capacities = {{Map::kPeers4, kRoom},
                                                    {Map::kPrefixes4, kRoom}}});
    maps_ = maps.get();
    auto created = Applier::create(std::move(maps));
    ASSERT_TRUE(created) << created.error().message;
    applier_ = std::make_unique<Applier>(std::move(*created));
    applier_->bind("ns/pod0", 2);
    applier_->bind("ns/pod1", 3);
  }
  static Transaction::EntryChange entry(
      std::uint32_t set, std::uint32_t cidr_id,
      sluice_verdict verdict = SLUICE_VERDICT_ALLOW) {
    return {key(set, cidr_id),
            sluice_policy_value{.verdict = static_cast<std::uint8_t>(verdict),
                                .rule = 20}};
  }
  void apply_well(const Transaction& transaction) {
    const auto result = applier_->apply(transaction);
    ASSERT_TRUE(result) << result.error().message;
    apply(wanted_, transaction);
  }
  // pod1, whose set allows or denies so many addresses of a class.
  static Transaction greedy(int count,
                            sluice_verdict verdict = SLUICE_VERDICT_ALLOW) {
    Transaction result;
    for (int i = 0; i < count; ++i) {
      result.peers.push_back({host(i), 6});
    }
    result.entries = {entry(kGreedy, 6, verdict)};
    result.endpoints = {{"ns/pod1", pod(1, kGreedy)}};
    return result;
  }
  [[nodiscard]] std::size_t present() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(contents_.peers, [](const auto& peer) {
          return prefix("10.0.1.0/24").contains(peer.first) &&
                 peer.first.length == 32;
        }));
  }
  [[nodiscard]] bool isolated(std::uint32_t ifindex) const {
    return (contents_.records.at(ifindex).gen[contents_.epoch & 1].flags &
            SLUICE_EP_ISOLATED(SLUICE_INGRESS)) != 0;
  }
  [[nodiscard]] std::size_t entries_of(std::uint32_t set) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(contents_.policy, [&](const auto& element) {
          return SLUICE_POLICY_SET(element.first.policy_id) == set;
        }));
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

TEST_F(Absent, TheSetThatNeedsThemIsAllowedLessAndTheOthersGoOn) {
  auto transaction = greedy(10);
  transaction.peers.push_back({prefix("10.0.0.2/32"), 5});
  transaction.entries.push_back(entry(kOther, 7));
  apply_well(transaction);
  EXPECT_EQ(contents_.peers.at(prefix("10.0.0.2/32"))[0], 5U);
  EXPECT_EQ(entries_of(kOther), 2U);
  EXPECT_EQ(present(), 0U);
  EXPECT_EQ(applier_->shortfall("ns/pod0"), "");
  EXPECT_EQ(applier_->shortfalls().size(), 1U);
  EXPECT_EQ(applier_->shortfall("ns/pod1"),
            "map peers4: 2 of 6 entries are used and 10 more peers of its "
            "policies have no room: nothing is allowed for them until there is "
            "room");
}

// What was in force before stays, and leaves room to others.
TEST_F(Absent, ALaterChangeOfAnotherSetIsInForceBesideIt) {
  apply_well(greedy(4));
  apply_well(greedy(10));
  EXPECT_EQ(present(), 4U);
  Transaction other;
  other.peers = {{prefix("10.0.0.2/32"), 5}};
  other.entries = {entry(kOther, 8)};
  apply_well(other);
  EXPECT_EQ(entries_of(kOther), 2U);
  EXPECT_TRUE(contents_.peers.contains(prefix("10.0.0.2/32")));
  EXPECT_EQ(applier_->shortfall("ns/pod0"), "");
}

TEST_F(Absent, OfPeersThatOthersNeedTooAsFewAsPossibleAreLeftOut) {
  auto transaction = greedy(10);
  transaction.entries.push_back(entry(kOther, 6));
  apply_well(transaction);
  EXPECT_EQ(present(), kRoom - 1);
  EXPECT_EQ(applier_->shortfalls().size(), 2U);
}

TEST_F(Absent, TheyAreInForceAsSoonAsThereIsRoom) {
  apply_well(greedy(7));
  EXPECT_FALSE(applier_->shortfalls().empty());
  Transaction less;
  less.peers = {{host(0), std::nullopt}, {host(1), std::nullopt}};
  apply_well(less);
  EXPECT_TRUE(applier_->retry());
  expect_all_in_force();
}

// An address that is denied must not become one that is not.
TEST_F(Absent, ASetThatDeniesThemIsIsolated) {
  auto transaction = greedy(10, SLUICE_VERDICT_DENY);
  transaction.endpoints[0].value->isolated = {};
  transaction.peers.push_back({prefix("10.0.0.2/32"), 5});
  apply_well(transaction);
  EXPECT_TRUE(isolated(3));
  EXPECT_EQ(entries_of(kGreedy), 0U);
  EXPECT_EQ(present(), 0U);
  EXPECT_EQ(contents_.peers.at(prefix("10.0.0.2/32"))[0], 5U);
  EXPECT_EQ(applier_->shortfall("ns/pod0"), "");
  EXPECT_EQ(applier_->shortfall("ns/pod1"),
            "map peers4: 1 of 6 entries are used and its policies need 10 "
            "more: its pods are isolated until there is room");
  Transaction fewer;
  for (int i = 4; i < 10; ++i) {
    fewer.peers.push_back({host(i), std::nullopt});
  }
  apply_well(fewer);
  EXPECT_TRUE(applier_->retry());
  expect_all_in_force();
}

// Excepts: the prefix around them is allowed, and they are not.
TEST_F(Absent, ASetThatExceptsThemIsIsolated) {
  Transaction transaction;
  transaction.peers = {{prefix("10.0.0.0/8"), 6}};
  for (int i = 0; i < 10; ++i) {
    transaction.peers.push_back(
        {prefix(("10.7." + std::to_string(i) + ".0/24").c_str()), 0});
  }
  transaction.entries = {entry(kGreedy, 6)};
  transaction.endpoints = {{"ns/pod1", pod(1, kGreedy)}};
  apply_well(transaction);
  EXPECT_TRUE(isolated(3));
  EXPECT_EQ(entries_of(kGreedy), 0U);
  EXPECT_EQ(entries_of(kOther), 1U);
  EXPECT_NE(applier_->shortfall("ns/pod1").find("map prefixes4: "),
            std::string::npos);
}

// What is left out is judged again when what is said of it changes.
TEST_F(Absent, ADenialThatComesLaterIsNotPassedOver) {
  apply_well(greedy(10));
  EXPECT_GT(entries_of(kGreedy), 0U);
  Transaction denied;
  denied.entries = {entry(kOther, 6, SLUICE_VERDICT_DENY)};
  apply_well(denied);
  // pod0's set denies what is not there: it is isolated, entries and all.
  EXPECT_TRUE(applier_->shortfalls().contains(kOther));
  EXPECT_EQ(entries_of(kOther), 0U);
  EXPECT_TRUE(isolated(2));
}

TEST_F(Absent, APrefixThatComesAroundThemLaterDoesNotOpenThem) {
  apply_well(greedy(10));
  Transaction around;
  around.peers = {{prefix("10.0.1.0/24"), 9}};
  around.entries = {entry(kOther, 9)};
  apply_well(around);
  // The greedy set says less of the prefix; the other one allows it, and does
  // not allow the addresses in it.
  EXPECT_TRUE(applier_->shortfalls().contains(kOther));
  EXPECT_EQ(entries_of(kOther), 0U);
}

TEST_F(Absent, ARestartAndASnapshotLeaveThemOutAgain) {
  apply_well(greedy(10));
  restart();
  ASSERT_TRUE(applier_->replace(wanted_));
  EXPECT_TRUE(applier_->shortfalls().contains(kGreedy));
  EXPECT_EQ(entries_of(kOther), 1U);
}

TEST_F(Absent, ASetThatGoesIsForgotten) {
  auto transaction = greedy(10);
  apply_well(transaction);
  for (auto& change : transaction.peers) {
    change.cidr_id.reset();
  }
  transaction.entries[0].value.reset();
  transaction.endpoints = {{"ns/pod1", std::nullopt}};
  apply_well(transaction);
  EXPECT_TRUE(applier_->shortfalls().empty());
  EXPECT_EQ(difference(contents_, wanted_, {{"ns/pod0", 2}, {"ns/pod1", 3}}),
            "");
}

// Tunnels to nodes are recognized by their addresses, whatever policies say.
TEST_F(Absent, AddressesOfNodesAreNotLeftOut) {
  auto transaction = greedy(10);
  transaction.peers.push_back({prefix("192.168.0.1/32"), SLUICE_CIDR_NODE | 0});
  apply_well(transaction);
  EXPECT_TRUE(contents_.peers.contains(prefix("192.168.0.1/32")));
}

TEST_F(Absent, WithoutAnythingToLeaveOutTheErrorNamesTheMap) {
  Transaction nodes;
  for (int i = 0; i < 10; ++i) {
    nodes.peers.push_back({host(i), SLUICE_CIDR_NODE});
  }
  const auto result = applier_->apply(nodes);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "map peers4 is full: 6 entries, 11 needed");
  EXPECT_EQ(present(), 0U);
}

// Whatever comes: who lacks nothing gets what is wanted.
class AbsentAtRandom : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(AbsentAtRandom, ChangesOfOthersAreInForceAtOnce) {
  World world(GetParam());
  world.nodes = false;
  Contents contents;
  auto applier = Applier::create(std::make_unique<FakeMaps>(
      contents, FakeMaps::Options{.capacities = {{Map::kPeers4, 4},
                                                 {Map::kPrefixes4, 2},
                                                 {Map::kPolicy, 60}}}));
  ASSERT_TRUE(applier);
  std::size_t lacking = 0;
  for (int i = 0; i < 40; ++i) {
    const auto [name, ifindex] = world.rebind();
    applier->bind(name, ifindex);
    const auto result = applier->apply(world.transaction(20));
    ASSERT_TRUE(result) << result.error().message;
    lacking += applier->shortfalls().size();
    const auto seen = without(contents, bindings_of(world, *applier, true));
    ASSERT_EQ(view_of(seen, seen.epoch & 1),
              view_of(world.state, bindings_of(world, *applier, false)))
        << "transaction " << i;
    // And the others get no more than that: all rules allow.
    const auto bound = bindings_of(world, *applier, true);
    const auto less =
        view_of(without(contents, bindings_of(world, *applier, false)),
                contents.epoch & 1);
    const auto whole = view_of(world.state, bound);
    ASSERT_EQ(less.size(), whole.size());
    for (std::size_t at = 0; at < less.size(); ++at) {
      ASSERT_TRUE(less[at] < SLUICE_RULE_FIRST ||
                  whole[at] >= SLUICE_RULE_FIRST)
          << "transaction " << i;
    }
  }
  EXPECT_GT(lacking, 0U);
}

INSTANTIATE_TEST_SUITE_P(Seeds, AbsentAtRandom,
                         ::testing::Range<std::uint32_t>(0, 30));

}  // namespace
}  // namespace sluice::agent::test
