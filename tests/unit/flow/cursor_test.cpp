// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cursor.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "tests/unit/flow/many_records.h"

namespace sluice::flow {
namespace {

using ::observer::GetFlowsRequest;
using ::observer::GetFlowsResponse;

FlowCursor open(const Store& store, const std::string& text) {
  GetFlowsRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request));
  auto cursor = FlowCursor::open(store, request, "node1");
  EXPECT_TRUE(cursor.has_value()) << text;
  return std::move(*cursor);
}

// Whatever it looks for, the caller can stop meanwhile.
TEST(FlowCursor, LooksAtAFewRecordsAtATime) {
  Store store(kManyRecords, 1);
  add_many(store);
  for (const auto* text : {"whitelist { source_pod: 'x' }",
                           "number: 5 whitelist { source_pod: 'x' }",
                           "number: 5 first: true whitelist { reply: true }"}) {
    auto cursor = open(store, text);
    GetFlowsResponse response;
    std::size_t busy = 0;
    while (cursor.next(response) == FlowCursor::Step::kBusy) {
      ++busy;
    }
    EXPECT_GE(busy, kManyRecords / 100) << text;
    EXPECT_EQ(cursor.next(response), FlowCursor::Step::kEnd) << text;
  }
}

// The newest records are looked at first.
TEST(FlowCursor, FindsTheLastFlowsAtOnce) {
  Store store(kManyRecords, 1);
  add_many(store);
  auto cursor = open(store, "number: 100");
  GetFlowsResponse response;
  std::size_t steps = 0;
  std::uint64_t given = 0;
  for (auto step = cursor.next(response); step != FlowCursor::Step::kEnd;
       step = cursor.next(response)) {
    given += step == FlowCursor::Step::kMessage ? 1 : 0;
    ++steps;
  }
  EXPECT_EQ(given, 100U);
  EXPECT_LE(steps, 110U);
}

// What is overwritten while the last flows are looked for is lost.
TEST(FlowCursor, TheStoreGoesOnMeanwhile) {
  Store store(1'000, 1);
  add_many(store);
  auto cursor = open(store, "number: 1000");
  GetFlowsResponse response;
  EXPECT_EQ(cursor.next(response), FlowCursor::Step::kBusy);
  add_many(store);
  auto step = FlowCursor::Step::kBusy;
  while (step == FlowCursor::Step::kBusy) {
    step = cursor.next(response);
  }
  ASSERT_EQ(step, FlowCursor::Step::kMessage);
  EXPECT_GT(response.lost_events().num_events_lost(), 0U);
}

// Between the times of the records before and behind them.
TEST(FlowCursor, SaysWhenTheFlowsWereThatAReaderHasMissed) {
  Store store(2, 1);
  Record record;
  record.from = std::make_shared<const End>();
  record.to = record.from;
  record.decision = std::make_shared<const Decision>();
  const auto add = [&](std::int64_t second) {
    record.time = second * 1'000'000'000;
    store.add(record);
  };
  add(100);
  auto cursor = open(store, "follow: true since { seconds: 1 }");
  GetFlowsResponse response;
  ASSERT_EQ(cursor.next(response), FlowCursor::Step::kMessage);
  ASSERT_TRUE(response.has_flow());
  for (const auto second : {101, 102, 103, 104, 105}) {
    add(second);
  }
  ASSERT_EQ(cursor.next(response), FlowCursor::Step::kMessage);
  EXPECT_EQ(response.lost_events().source(), ::flow::HUBBLE_RING_BUFFER);
  EXPECT_EQ(response.lost_events().num_events_lost(), 3U);
  EXPECT_EQ(response.lost_events().first().seconds(), 100);
  EXPECT_EQ(response.lost_events().last().seconds(), 104);
  EXPECT_EQ(response.node_name(), "node1");
}

TEST(FlowCursor, SaysOnlyWhatItKnowsOfTheTime) {
  Store store(2, 1);
  auto cursor = open(store, "follow: true");
  add_many(store);
  GetFlowsResponse response;
  ASSERT_EQ(cursor.next(response), FlowCursor::Step::kMessage);
  EXPECT_GT(response.lost_events().num_events_lost(), 0U);
  EXPECT_FALSE(response.lost_events().has_first());
  EXPECT_TRUE(response.lost_events().has_last());
}

}  // namespace
}  // namespace sluice::flow
