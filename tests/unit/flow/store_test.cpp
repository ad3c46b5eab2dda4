// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/store.h"

#include <atomic>
#include <thread>

#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

Record at(std::int64_t time) {
  Record record;
  record.time = time;
  return record;
}

TEST(FlowStore, GivesWhatWasAddedInItsOrder) {
  Store store(4, 7);
  EXPECT_EQ(store.first(), store.next());
  EXPECT_TRUE(store.read(1, 10).records.empty());
  for (int time = 1; time <= 3; ++time) {
    store.add(at(time));
  }
  const auto read = store.read(1, 10);
  ASSERT_EQ(read.records.size(), 3U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(read.records[i].time, i + 1);
    EXPECT_EQ(read.records[i].number, static_cast<std::uint64_t>(i + 1));
    EXPECT_EQ(read.records[i].store, 7U);
  }
  EXPECT_EQ(read.lost, 0U);
  EXPECT_EQ(read.next, 4U);
  EXPECT_TRUE(store.read(read.next, 10).records.empty());
}

TEST(FlowStore, ReadsInParts) {
  Store store(10, 1);
  for (int time = 1; time <= 5; ++time) {
    store.add(at(time));
  }
  const auto first = store.read(2, 2);
  ASSERT_EQ(first.records.size(), 2U);
  EXPECT_EQ(first.records[0].time, 2);
  EXPECT_EQ(first.next, 4U);
  const auto rest = store.read(first.next, 100);
  ASSERT_EQ(rest.records.size(), 2U);
  EXPECT_EQ(rest.records[1].time, 5);
  EXPECT_TRUE(store.read(1, 0).records.empty());
  EXPECT_EQ(store.read(1, 0).next, 1U);
}

TEST(FlowStore, ASlowReaderLearnsHowMuchItHasMissed) {
  Store store(4, 1);
  for (int time = 1; time <= 11; ++time) {
    store.add(at(time));
  }
  EXPECT_EQ(store.first(), 8U);
  const auto read = store.read(3, 100);
  EXPECT_EQ(read.lost, 5U);
  ASSERT_EQ(read.records.size(), 4U);
  EXPECT_EQ(read.records.front().time, 8);
  EXPECT_EQ(read.records.back().time, 11);
  EXPECT_EQ(read.next, 12U);
}

TEST(FlowStore, APlaceInTheFutureIsKept) {
  Store store(4, 1);
  store.add(at(1));
  const auto read = store.read(100, 10);
  EXPECT_TRUE(read.records.empty());
  EXPECT_EQ(read.lost, 0U);
  EXPECT_EQ(read.next, 100U);
}

TEST(FlowStore, FindsATime) {
  Store store(4, 1);
  EXPECT_EQ(store.since(0), store.next());
  for (int time = 10; time <= 60; time += 10) {
    store.add(at(time));
  }
  EXPECT_EQ(store.since(0), 3U);
  EXPECT_EQ(store.since(40), 4U);
  EXPECT_EQ(store.since(41), 5U);
  EXPECT_EQ(store.since(61), store.next());
}

TEST(FlowStore, CountsFlows) {
  Store store(4, 1);
  for (int time = 1; time <= 6; ++time) {
    store.add(at(time));
  }
  const auto counters = store.counters();
  EXPECT_EQ(counters.flows, 4U);
  EXPECT_EQ(counters.capacity, 4U);
  EXPECT_EQ(counters.seen, 6U);
}

TEST(FlowStore, OneWritesWhileOthersRead) {
  constexpr std::uint64_t kRecords = 20'000;
  Store store(64, 1);
  std::atomic<bool> done = false;
  const auto follow = [&] {
    std::uint64_t from = 1;
    std::uint64_t seen = 0;
    while (true) {
      const bool last = done;
      const auto read = store.read(from, 16);
      for (const auto& record : read.records) {
        EXPECT_EQ(record.number, static_cast<std::uint64_t>(record.time));
      }
      seen += read.lost + read.records.size();
      from = read.next;
      if (last && read.records.empty()) {
        break;
      }
    }
    EXPECT_EQ(seen, kRecords);
  };
  std::thread one(follow);
  std::thread other(follow);
  for (std::uint64_t i = 1; i <= kRecords; ++i) {
    store.add(at(static_cast<std::int64_t>(i)));
  }
  done = true;
  one.join();
  other.join();
}

}  // namespace
}  // namespace sluice::flow
