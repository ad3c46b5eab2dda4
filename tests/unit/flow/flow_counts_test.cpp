// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/flow_counts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

using std::chrono::minutes;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

std::shared_ptr<const End> workload(const std::string& name) {
  return std::make_shared<const End>(
      End{.ns = "shop", .pod = name + "-1", .workload = name});
}

std::shared_ptr<const End> world() {
  return std::make_shared<const End>(End{.labels = {"reserved:world"}});
}

Record ingress(std::shared_ptr<const End> from, std::shared_ptr<const End> to,
               bool allowed) {
  Record record;
  record.direction = SLUICE_INGRESS;
  record.allowed = allowed;
  record.reason =
      allowed ? SLUICE_REASON_POLICY_ALLOW : SLUICE_REASON_DEFAULT_DENY;
  record.from = std::move(from);
  record.to = std::move(to);
  const Decision decision{
      .policies = {{.kind = "NetworkPolicy", .ns = "shop", .name = "db"}},
      .path = allowed ? "spec.ingress[0]" : "",
      .log = {}};
  record.decision = std::make_shared<const Decision>(decision);
  return record;
}

class FlowCountsTest : public ::testing::Test {
 protected:
  FlowCounts::View view(FlowCounts& counts, minutes after = minutes(0)) {
    counts.turn(now_ + after);
    return counts.view();
  }
  FlowCounts::Clock::time_point now_ = FlowCounts::Clock::now();
};

TEST_F(FlowCountsTest, CountsByWorkloadRuleAndDeniedPair) {
  FlowCounts counts(10);
  for (int i = 0; i < 3; ++i) {
    counts.add(ingress(workload("web"), workload("db"), true));
  }
  counts.add(ingress(world(), workload("db"), false));
  counts.add(ingress(world(), workload("db"), false));
  counts.add(Record{.lost = 7});
  auto goes_on = ingress(workload("web"), workload("db"), true);
  goes_on.traffic = std::make_shared<const Traffic>();
  counts.add(goes_on);  // has been counted when it began
  const auto seen = view(counts);
  EXPECT_THAT(
      seen.workloads.items,
      testing::UnorderedElementsAre(
          Pair(FlowCounts::Workload{.ns = "shop",
                                    .name = "db",
                                    .direction = SLUICE_INGRESS,
                                    .reason = SLUICE_REASON_POLICY_ALLOW,
                                    .allowed = true},
               3),
          Pair(FlowCounts::Workload{.ns = "shop",
                                    .name = "db",
                                    .direction = SLUICE_INGRESS,
                                    .reason = SLUICE_REASON_DEFAULT_DENY,
                                    .allowed = false},
               2)));
  EXPECT_THAT(
      seen.rules.items,
      ElementsAre(Pair(FlowCounts::Rule{.policy = "NetworkPolicy/shop/db",
                                        .path = "",
                                        .direction = SLUICE_INGRESS,
                                        .allowed = false},
                       2),
                  Pair(FlowCounts::Rule{.policy = "NetworkPolicy/shop/db",
                                        .path = "spec.ingress[0]",
                                        .direction = SLUICE_INGRESS,
                                        .allowed = true},
                       3)));
  EXPECT_THAT(seen.denied,
              ElementsAre(Pair(FlowCounts::Pair{.source_ns = "",
                                                .source = "world",
                                                .destination_ns = "shop",
                                                .destination = "db"},
                               2)));
  EXPECT_EQ(seen.workloads.others + seen.rules.others, 0U);
}

// A policy that isolates and does not decide alone is counted as well.
TEST_F(FlowCountsTest, EveryPolicyThatIsolatesIsCounted) {
  FlowCounts counts(10);
  auto record = ingress(world(), workload("db"), false);
  auto decision = *record.decision;
  decision.policies.push_back(
      {.kind = "CiliumClusterwideNetworkPolicy", .ns = "", .name = "base"});
  record.decision = std::make_shared<const Decision>(decision);
  counts.add(record);
  const auto seen = view(counts);
  ASSERT_THAT(seen.rules.items, SizeIs(2));
  EXPECT_EQ(seen.rules.items[0].first.policy,
            "CiliumClusterwideNetworkPolicy/base");
  EXPECT_THAT(seen.workloads.items, ElementsAre(Pair(testing::_, 1)));
}

TEST_F(FlowCountsTest, WhatGoesBeyondTheBoundIsCountedTogether) {
  FlowCounts counts(2);
  for (const auto* name : {"a", "b", "c", "d", "c"}) {
    counts.add(ingress(world(), workload(name), true));
    counts.turn(now_);
  }
  const auto seen = view(counts);
  EXPECT_THAT(seen.workloads.items, SizeIs(2));
  EXPECT_EQ(seen.workloads.others, 3U);
  EXPECT_THAT(seen.rules.items, ElementsAre(Pair(testing::_, 5)));
  EXPECT_EQ(seen.rules.others, 0U);
}

TEST_F(FlowCountsTest, ASeriesOfWhichThereIsNothingMakesRoom) {
  FlowCounts counts(1);
  counts.add(ingress(world(), workload("old"), true));
  counts.turn(now_);
  counts.add(ingress(world(), workload("new"), true));
  EXPECT_EQ(view(counts, minutes(14)).workloads.others, 1U);
  counts.add(ingress(world(), workload("new"), true));
  const auto seen = view(counts, minutes(16));
  ASSERT_THAT(seen.workloads.items, SizeIs(1));
  EXPECT_EQ(seen.workloads.items[0].first.name, "new");
  EXPECT_EQ(seen.workloads.items[0].second, 1U);
  EXPECT_EQ(seen.workloads.others, 1U) << "counters do not fall";
}

TEST_F(FlowCountsTest, APairThatIsDeniedOftenStays) {
  FlowCounts counts(10);
  const auto often = workload("often");
  for (int i = 0; i < 1'000; ++i) {
    counts.add(ingress(often, workload("db"), false));
    counts.add(
        ingress(workload("rare-" + std::to_string(i)), workload("db"), false));
    counts.turn(now_);
  }
  const auto seen = view(counts);
  EXPECT_THAT(seen.denied, SizeIs(50));
  EXPECT_THAT(seen.denied,
              testing::Contains(Pair(
                  testing::Field(&FlowCounts::Pair::source, "often"), 1'000)));
}

// Whoever was denied often yesterday does not hide those of today.
TEST_F(FlowCountsTest, PairsOfThePastMakeRoom) {
  TopCounts<int> counts(1);
  counts.turn(now_);
  counts.add(1, 1'000);
  for (int i = 1; i <= 20; ++i) {
    counts.turn(now_ + (i * TopCounts<int>::kHalf));
  }
  counts.add(2, 1);
  EXPECT_THAT(counts.view(), ElementsAre(Pair(2, 1)));
}

TEST_F(FlowCountsTest, NothingIsCountedWithoutSeries) {
  FlowCounts counts(0);
  counts.add(ingress(world(), workload("db"), false));
  const auto seen = view(counts);
  EXPECT_THAT(seen.workloads.items, IsEmpty());
  EXPECT_THAT(seen.denied, IsEmpty());
  EXPECT_EQ(seen.workloads.others, 0U);
}

}  // namespace
}  // namespace sluice::flow
