// SPDX-License-Identifier: Apache-2.0
#include "agent/apply.h"

#include <string>
#include <tuple>

#include <gtest/gtest.h>

#include "tests/unit/agent/world.h"

// The applier over maps in memory: every single write is looked at.
namespace sluice::agent::test {
namespace {

// An applier whose every write is checked against what packets may see: the
// old state up to the step of the epoch, the new one after it, and the old one
// still in the old slot until a grace period has passed.
class Watched {
 public:
  explicit Watched(FakeMaps::Options options = {},
                   ApplierOptions applier_options = {})
      : options_(std::move(options)), applier_options_(applier_options) {
    restart();
  }

  // A new process: an applier over the maps as they are.
  void restart() {
    auto maps = std::make_unique<FakeMaps>(contents, options_);
    maps_ = maps.get();
    watch();
    auto created = Applier::create(std::move(maps), applier_options_);
    ASSERT_TRUE(created) << created.error().message;
    applier = std::make_unique<Applier>(std::move(*created));
  }

  // Tells what the next call starts from and leads to.
  void expect(View before, View after) {
    expected_ = {.watching = true,
                 .before = std::move(before),
                 .after = std::move(after),
                 .start_epoch = contents.epoch};
  }
  FakeMaps& maps() { return *maps_; }
  // Deletes what stands by, which nobody may notice.
  void drop_standbys() {
    const auto expected = expected_;
    expect(view_of(contents, contents.epoch & 1), {});
    applier->drop_unused_standbys();
    applier->drop_unused_standbys();
    expected_ = expected;
  }

  Contents contents;
  std::unique_ptr<Applier> applier;
  std::string violation;

 private:
  void watch() {
    maps_->after_write = [this] { check(); };
    maps_->after_grace = [this] { expected_.in_grace = false; };
  }
  void check() {
    if (!expected_.watching || !violation.empty()) {
      return;
    }
    if (!expected_.stepped && contents.epoch != expected_.start_epoch) {
      expected_.stepped = true;
      expected_.in_grace = true;
    }
    const unsigned slot = contents.epoch & 1;
    if (view_of(contents, slot) !=
        (expected_.stepped ? expected_.after : expected_.before)) {
      violation = expected_.stepped ? "after the step" : "before the step";
    }
    if (expected_.in_grace && view_of(contents, slot ^ 1) != expected_.before) {
      violation = "old slot changed within the grace period";
    }
  }

  FakeMaps::Options options_;
  ApplierOptions applier_options_;
  FakeMaps* maps_ = nullptr;
  struct Expected {
    bool watching = false;
    View before;
    View after;
    std::uint32_t start_epoch = 0;
    bool stepped = false;
    bool in_grace = false;
  };
  Expected expected_;
};

sluice_policy_value allow(std::uint32_t rule) {
  return {.verdict = SLUICE_VERDICT_ALLOW, .rule = rule};
}

EndpointEntry pod(std::uint32_t set) {
  return {.name = "ns/pod0",
          .policy_set = set,
          .isolated = {true, false},
          .ips = {*parse_ip("10.0.0.200")}};
}

// By seed, and by the size from which a set has a standby.
class RandomSequences
    : public ::testing::TestWithParam<std::tuple<std::uint32_t, std::size_t>> {
 protected:
  World world{std::get<0>(GetParam())};
  Watched watched{{}, {.standby_min = std::get<1>(GetParam())}};

  // What is in the maps and should not be, or the reverse, once nothing stands
  // by; but what stands by is left alone half of the time.
  std::string remains(const State& state, const Bindings& bindings) {
    if (world.below(2) == 0) {
      return {};
    }
    watched.drop_standbys();
    return watched.violation + difference(watched.contents, state, bindings);
  }
};

TEST_P(RandomSequences, OnlyTheEpochStepChangesWhatPacketsSee) {
  for (int i = 0; i < 60; ++i) {
    const auto before = view_of(world.state, world.bindings);
    if (world.below(3) == 0) {
      const auto [name, ifindex] = world.rebind();
      watched.applier->bind(name, ifindex);
    }
    const auto transaction = world.transaction(world.below(4) == 0 ? 40 : 6);
    watched.expect(before, view_of(world.state, world.bindings));
    const auto epoch = watched.contents.epoch;
    const auto result = watched.applier->apply(transaction);
    ASSERT_TRUE(result) << result.error().message;
    ASSERT_EQ(watched.violation, "") << "transaction " << i;
    ASSERT_EQ(remains(world.state, world.bindings), "") << "transaction " << i;
    ASSERT_LE(watched.contents.epoch - epoch, 1U);
    ASSERT_FALSE(watched.maps().reused_early);
  }
}

TEST_P(RandomSequences, AFailureAtAnyWriteLeavesTheOldStateAndRetryTheNew) {
  for (int i = 0; i < 30; ++i) {
    const auto before = view_of(world.state, world.bindings);
    const auto old_state = world.state;
    const auto old_bindings = world.bindings;
    if (world.below(3) == 0) {
      const auto [name, ifindex] = world.rebind();
      watched.applier->bind(name, ifindex);
    }
    const auto transaction = world.transaction(12);
    watched.expect(before, view_of(world.state, world.bindings));
    auto& maps = watched.maps();
    maps.writes = 0;
    maps.fail_at = world.below(25);
    const auto result = watched.applier->apply(transaction);
    maps.fail_at.reset();
    ASSERT_EQ(watched.violation, "") << "transaction " << i;
    if (!result) {
      ASSERT_EQ(remains(old_state, old_bindings), "") << "transaction " << i;
      ASSERT_EQ(result.error().code, ENOMEM);
    }
    const auto again = watched.applier->retry();
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_EQ(watched.violation, "") << "transaction " << i;
    ASSERT_EQ(remains(world.state, world.bindings), "") << "transaction " << i;
    ASSERT_FALSE(maps.reused_early);
  }
}

TEST_P(RandomSequences, FailedTransactionsAddUp) {
  for (int i = 0; i < 20; ++i) {
    auto& maps = watched.maps();
    maps.writes = 0;
    maps.fail_at = i % 5 == 4 ? std::nullopt : std::optional<std::size_t>(0);
    const auto result = watched.applier->apply(world.transaction(10));
    if (i % 5 == 4) {
      ASSERT_TRUE(result) << result.error().message;
      ASSERT_EQ(remains(world.state, world.bindings), "");
    }
  }
}

TEST_P(RandomSequences, ARestartWritesNothingWhereNothingDiffers) {
  for (int i = 0; i < 8; ++i) {
    const auto [name, ifindex] = world.rebind();
    watched.applier->bind(name, ifindex);
    ASSERT_TRUE(watched.applier->apply(world.transaction(20)));
  }
  watched.drop_standbys();
  const auto epoch = watched.contents.epoch;
  watched.restart();
  int writes = 0;
  watched.maps().after_write = [&] { ++writes; };
  for (const auto& [name, ifindex] : world.bindings) {
    watched.applier->bind(name, ifindex);
  }
  ASSERT_TRUE(watched.applier->replace(world.state));
  EXPECT_EQ(writes, 0);
  EXPECT_EQ(watched.contents.epoch, epoch);
}

// Stops an applier dead after a number of writes, as SIGKILL does.
TEST_P(RandomSequences, AStopAtAnyWriteLeavesOneStateComplete) {
  for (int i = 0; i < 25; ++i) {
    const auto before = view_of(world.state, world.bindings);
    if (world.below(3) == 0) {
      const auto [name, ifindex] = world.rebind();
      watched.applier->bind(name, ifindex);
    }
    const auto transaction = world.transaction(15);
    std::vector<Contents> moments{watched.contents};
    watched.maps().after_write = [&] { moments.push_back(watched.contents); };
    const auto epoch = watched.contents.epoch;
    ASSERT_TRUE(watched.applier->apply(transaction));
    watched.contents =
        moments[world.below(static_cast<std::uint32_t>(moments.size()))];
    const auto after = view_of(world.state, world.bindings);
    const auto found = view_of(watched.contents, watched.contents.epoch & 1);
    ASSERT_EQ(found, watched.contents.epoch == epoch ? before : after);

    watched.restart();
    watched.expect(found, after);
    for (const auto& [name, ifindex] : world.bindings) {
      watched.applier->bind(name, ifindex);
    }
    const auto result = watched.applier->replace(world.state);
    ASSERT_TRUE(result) << result.error().message;
    ASSERT_EQ(watched.violation, "");
    ASSERT_EQ(remains(world.state, world.bindings), "");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Seeds, RandomSequences,
    ::testing::Combine(::testing::Range<std::uint32_t>(1, 13),
                       ::testing::Values<std::size_t>(1, 1024)));

TEST(Apply, ANewClassIsWrittenInPlace) {
  Watched watched;
  watched.applier->bind("ns/pod0", 2);
  Transaction first;
  first.entries = {{key(1, 5), allow(20)}, {key(1, 6), allow(21)}};
  first.peers = {{prefix("10.0.0.1/32"), 5}};
  first.endpoints = {{"ns/pod0", pod(1)}};
  ASSERT_TRUE(watched.applier->apply(first));

  Transaction second;
  second.entries = {{key(1, 7), allow(22)}, {key(1, 6), std::nullopt}};
  second.peers = {{prefix("10.0.0.2/32"), 7}};
  ASSERT_TRUE(watched.applier->apply(second));
  const auto& record = watched.contents.records.at(2);
  EXPECT_EQ(record.gen[0].policy_id, SLUICE_POLICY_ID(1, 0));
  EXPECT_EQ(watched.contents.policy.size(), 2U);
}

TEST(Apply, AClassInUseMakesTheSetBeWrittenAnew) {
  Watched watched;
  watched.applier->bind("ns/pod0", 2);
  Transaction first;
  first.entries = {{key(1, 5), allow(20)}};
  first.peers = {{prefix("10.0.0.1/32"), 5}};
  first.endpoints = {{"ns/pod0", pod(1)}};
  ASSERT_TRUE(watched.applier->apply(first));

  Transaction second;
  second.entries = {{key(1, 5, 443), allow(22)}};
  ASSERT_TRUE(watched.applier->apply(second));
  const auto& record = watched.contents.records.at(2);
  EXPECT_EQ(record.gen[0].policy_id, SLUICE_POLICY_ID(1, 1));
  EXPECT_EQ(watched.contents.policy.size(), 2U);
  for (const auto& [found, value] : watched.contents.policy) {
    EXPECT_EQ(found.policy_id, SLUICE_POLICY_ID(1, 1));
  }
}

// A set of entries for a class in use, and an endpoint that uses it.
Transaction large_set(int entries) {
  Transaction first;
  for (int i = 0; i < entries; ++i) {
    first.entries.push_back({key(1, 5, 1000 + i), allow(20)});
  }
  first.peers = {{prefix("10.0.0.1/32"), 5}};
  first.endpoints = {{"ns/pod0", pod(1)}};
  return first;
}

TEST(Apply, TheSecondChangeOfALargeSetWritesOnlyDifferences) {
  Watched watched({}, {.standby_min = 100});
  watched.applier->bind("ns/pod0", 2);
  State wanted;
  const auto change = [&](const Transaction& transaction) {
    apply(wanted, transaction);
    watched.maps().writes = 0;
    watched.maps().fail_at = 1'000'000;  // counts
    ASSERT_TRUE(watched.applier->apply(transaction));
  };
  change(large_set(200));
  EXPECT_EQ(watched.maps().writes, 202);  // the peer twice
  // The first change writes the set and deletes nothing.
  change({.entries = {{key(1, 5, 1000), allow(21)}}});
  EXPECT_EQ(watched.maps().writes, 200);
  EXPECT_EQ(watched.applier->used(Map::kPolicy), 400);
  change({.entries = {{key(1, 5, 1001), allow(21)},
                      {key(1, 5, 1002), std::nullopt},
                      {key(1, 5, 443), allow(22)}}});
  EXPECT_EQ(watched.maps().writes, 4);
  // An entry that comes back, and one that changes again.
  change(
      {.entries = {{key(1, 5, 1002), allow(23)}, {key(1, 5, 443), allow(24)}}});
  EXPECT_EQ(watched.maps().writes, 3);
  EXPECT_EQ(watched.contents.epoch, 4);
  watched.drop_standbys();
  EXPECT_EQ(watched.violation, "");
  EXPECT_EQ(watched.applier->used(Map::kPolicy), 201);
  EXPECT_EQ(difference(watched.contents, wanted, {{"ns/pod0", 2}}), "");
}

TEST(Apply, AStandbyGoesWhenAnotherSetNeedsItsRoom) {
  Watched watched({.capacities = {{Map::kPolicy, 800}}}, {.standby_min = 100});
  watched.applier->bind("ns/pod0", 2);
  const auto first = large_set(200);
  ASSERT_TRUE(watched.applier->apply(first));
  const Transaction second{.entries = {{key(1, 5, 1000), allow(21)}}};
  ASSERT_TRUE(watched.applier->apply(second));
  EXPECT_EQ(watched.contents.policy.size(), 400);

  Transaction third;
  for (int i = 0; i < 500; ++i) {
    third.entries.push_back({key(2, 0, 1000 + i), allow(30)});
  }
  ASSERT_TRUE(watched.applier->apply(third));
  EXPECT_TRUE(watched.applier->shortfalls().empty());
  State wanted;
  for (const auto& transaction : {first, second, third}) {
    apply(wanted, transaction);
  }
  EXPECT_EQ(difference(watched.contents, wanted, {{"ns/pod0", 2}}), "");
}

TEST(Apply, SetsOfOneTransactionStandByInHalfOfTheMapAtMost) {
  Watched watched({.capacities = {{Map::kPolicy, 1000}}}, {.standby_min = 50});
  Transaction first;
  Transaction second;
  for (std::uint32_t set = 1; set <= 4; ++set) {
    auto part = large_set(100);
    for (auto& entry : part.entries) {
      entry.key.policy_id = set;
    }
    first.entries.insert(first.entries.end(), part.entries.begin(),
                         part.entries.end());
    const auto name = "ns/pod" + std::to_string(set);
    auto endpoint = pod(set);
    endpoint.name = name;
    first.endpoints.push_back({name, endpoint});
    watched.applier->bind(name, set + 1);
    second.entries.push_back({key(set, 5, 1000), allow(21)});
  }
  first.peers = {{prefix("10.0.0.1/32"), 5}};
  ASSERT_TRUE(watched.applier->apply(first));
  ASSERT_TRUE(watched.applier->apply(second));
  EXPECT_EQ(watched.applier->used(Map::kPolicy), 500);
}

TEST(Apply, NothingStandsByInMoreThanHalfOfTheMap) {
  Watched watched({.capacities = {{Map::kPolicy, 700}}}, {.standby_min = 100});
  watched.applier->bind("ns/pod0", 2);
  ASSERT_TRUE(watched.applier->apply(large_set(200)));
  ASSERT_TRUE(
      watched.applier->apply({.entries = {{key(1, 5, 1000), allow(21)}}}));
  EXPECT_EQ(watched.contents.policy.size(), 200);
}

// No peer has a selector of names as its class, and packets look its entries up
// all the same: flows that a removed rule has allowed are judged again.
TEST(Apply, ASelectorOfNamesIsAlwaysInUse) {
  constexpr std::uint32_t kName = SLUICE_CIDR_NAME | 5;
  Watched watched;
  watched.applier->bind("ns/pod0", 2);
  Transaction first;
  first.entries = {{key(1, kName), allow(20)}};
  first.endpoints = {{"ns/pod0", pod(1)}};
  ASSERT_TRUE(watched.applier->apply(first));
  const auto epoch = watched.contents.epoch;

  Transaction second;
  second.entries = {{key(1, kName), std::nullopt}};
  ASSERT_TRUE(watched.applier->apply(second));
  EXPECT_EQ(watched.contents.epoch, epoch + 1);

  ASSERT_TRUE(watched.applier->apply(first));
  EXPECT_EQ(watched.contents.epoch, epoch + 2);
}

TEST(Apply, WhatNoPacketCanNoticeStepsNoEpoch) {
  Watched watched;
  watched.applier->bind("ns/pod0", 2);
  Transaction first;
  first.entries = {{key(1, 5), allow(20)}};
  first.endpoints = {{"ns/pod0", pod(1)}};
  first.peers = {{prefix("10.0.0.0/24"), 5}};
  ASSERT_TRUE(watched.applier->apply(first));
  const auto epoch = watched.contents.epoch;

  Transaction second;
  second.entries = {{key(1, 6), allow(21)}, {key(3, 0), allow(22)}};
  second.peers = {{prefix("10.0.0.9/32"), 5}};  // as the prefix around it
  ASSERT_TRUE(watched.applier->apply(second));
  EXPECT_EQ(watched.contents.epoch, epoch);
  EXPECT_EQ(watched.contents.policy.size(), 3U);
  EXPECT_EQ(watched.contents.peers.size(), 2U);
}

TEST(Apply, AnEndpointThatChangesItsAddressIsFollowed) {
  Watched watched;
  watched.applier->bind("ns/pod0", 2);
  Transaction first;
  first.endpoints = {{"ns/pod0", pod(0)}};
  ASSERT_TRUE(watched.applier->apply(first));
  auto moved = pod(0);
  moved.ips = {*parse_ip("10.0.0.201"), *parse_ip("fd00::1")};
  Transaction second;
  second.endpoints = {{"ns/pod0", moved}};
  ASSERT_TRUE(watched.applier->apply(second));
  State state;
  apply(state, second);
  EXPECT_EQ(difference(watched.contents, state, {{"ns/pod0", 2}}), "");
}

TEST(Apply, ANewRecordHasItsAddressesBeforeItIsInForce) {
  Watched watched;
  bool checked = false;
  watched.maps().after_write = [&] {
    if (watched.contents.epoch == 1 && !checked) {
      checked = true;
      EXPECT_NE(watched.contents.records.at(2).ipv4, 0U);
    }
  };
  watched.applier->bind("ns/pod0", 2);
  Transaction transaction;
  transaction.endpoints = {{"ns/pod0", pod(0)}};
  ASSERT_TRUE(watched.applier->apply(transaction));
  EXPECT_TRUE(checked);
}

struct FullMap {
  const char* name;
  Map map;
  Transaction transaction;
};

class MapFull : public ::testing::TestWithParam<FullMap> {};

TEST_P(MapFull, ChangesNothingAndSaysWhatIsNeeded) {
  const auto& [name, map, transaction] = GetParam();
  Watched watched({.capacities = {{map, 2}}});
  for (int i = 0; i < 4; ++i) {
    watched.applier->bind("ns/pod" + std::to_string(i),
                          SLUICE_ENDPOINTS_DIRECT + 1 + i);
  }
  Transaction first;
  first.entries = {{key(1, 5), allow(20)}};
  ASSERT_TRUE(watched.applier->apply(first));
  State old_state;
  apply(old_state, first);

  const auto result = watched.applier->apply(transaction);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "map " + std::string(map_name(map)) +
                                        " is full: 2 entries, 3 needed");
  EXPECT_EQ(result.error().code, ENOSPC);
  EXPECT_EQ(difference(watched.contents, old_state, {}), "");
  EXPECT_FALSE(watched.applier->retry());

  // Once it fits, it is applied without further help.
  Transaction less;
  less.peers = {{transaction.peers[0].prefix, std::nullopt}};
  const auto again = watched.applier->apply(less);
  ASSERT_TRUE(again) << again.error().message;
  State wanted = old_state;
  apply(wanted, transaction);
  apply(wanted, less);
  EXPECT_EQ(difference(watched.contents, wanted, {}), "");
}

Transaction peers(std::initializer_list<const char*> prefixes) {
  Transaction result;
  for (const auto* text : prefixes) {
    // Addresses of nodes are never left out.
    result.peers.push_back({prefix(text), SLUICE_CIDR_NODE | 5});
  }
  return result;
}

INSTANTIATE_TEST_SUITE_P(
    EachMap, MapFull,
    ::testing::Values(
        FullMap{"peers4", Map::kPeers4,
                peers({"10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32"})},
        FullMap{"peers6", Map::kPeers6,
                peers({"fd00::1/128", "fd00::2/128", "fd00::3/128"})},
        FullMap{"prefixes4", Map::kPrefixes4,
                peers({"10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"})},
        FullMap{"prefixes6", Map::kPrefixes6,
                peers({"fd01::/64", "fd02::/64", "fd03::/64"})}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(Apply, InterfacesBeyondTheDirectOnesRunOut) {
  Watched watched(
      {.capacities = {{Map::kEndpointOverflow, SLUICE_ENDPOINTS_OVERFLOW}}});
  Transaction transaction;
  for (std::uint32_t i = 0; i <= SLUICE_ENDPOINTS_OVERFLOW; ++i) {
    auto entry = pod(0);
    entry.name = "ns/pod" + std::to_string(i);
    watched.applier->bind(entry.name, SLUICE_ENDPOINTS_DIRECT + i);
    transaction.endpoints.push_back({entry.name, entry});
  }
  const auto result = watched.applier->apply(transaction);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ENOSPC);
  EXPECT_TRUE(watched.contents.records.empty());
  watched.applier->bind("ns/pod7", 0);
  ASSERT_TRUE(watched.applier->retry());
  EXPECT_EQ(watched.contents.records.size(), SLUICE_ENDPOINTS_OVERFLOW);
  EXPECT_EQ(watched.applier->used(Map::kEndpointOverflow),
            SLUICE_ENDPOINTS_OVERFLOW);
}

}  // namespace
}  // namespace sluice::agent::test
