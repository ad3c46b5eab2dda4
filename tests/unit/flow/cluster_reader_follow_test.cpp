// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/flow/cluster_reader.h"
#include "lib/flow/store.h"
#include "tests/unit/flow/cluster_reader_fixture.h"

namespace sluice::flow::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(FlowClusterReader, Follows) {
  node("a").add(1, 101);
  node("b").add(2, 102);
  ASSERT_TRUE(open("follow: true"));
  EXPECT_THAT(read(), ElementsAre("+a,b"));
  node("b").add(4, 104);
  EXPECT_THAT(read(), IsEmpty()) << "an older one may come";
  EXPECT_EQ(reader_->wake_at(), now_ + options_.hold);
  node("a").add(3, 103);
  now_ += options_.hold;
  EXPECT_THAT(read(), ElementsAre("a:3", "b:4"));
}

TEST_F(FlowClusterReader, FollowsFromTheLastOnes) {
  for (std::uint16_t port = 1; port <= 6; ++port) {
    node(port % 2 == 0 ? "a" : "b").add(port, 100 + port);
  }
  ASSERT_TRUE(open("follow: true number: 3"));
  EXPECT_THAT(read(), ElementsAre("+a,b", "a:4", "b:5", "a:6"));
  node("a").add(7, 107);
  node("b").add(8, 108);
  EXPECT_THAT(read(), IsEmpty());
  now_ += options_.hold;
  EXPECT_THAT(read(), ElementsAre("a:7", "b:8"));
}

TEST_F(FlowClusterReader, FollowsFromATimeOrTheBeginning) {
  for (std::uint16_t port = 1; port <= 4; ++port) {
    node(port % 2 == 0 ? "a" : "b").add(port, 100 + port);
  }
  ASSERT_TRUE(open("follow: true since { seconds: 103 }"));
  auto lines = read();
  now_ += options_.hold;
  std::ranges::copy(read(), std::back_inserter(lines));
  EXPECT_THAT(lines, ElementsAre("+a,b", "b:3", "a:4"));
  ASSERT_TRUE(open("follow: true number: 18446744073709551615"));
  lines = read();
  now_ += options_.hold;
  std::ranges::copy(read(), std::back_inserter(lines));
  EXPECT_THAT(lines, ElementsAre("+a,b", "b:1", "a:2", "b:3", "a:4"));
}

TEST_F(FlowClusterReader, ANodeThatIsAheadOfTimeDoesNotHoldUpOthers) {
  node("a");
  node("b");
  ASSERT_TRUE(open("follow: true"));
  read();
  node("a").add(1, 9'999);  // its clock is wrong
  EXPECT_THAT(read(), IsEmpty());
  now_ += options_.hold;
  EXPECT_THAT(read(), ElementsAre("a:1"));
  node("b").add(2, 101);
  now_ += options_.hold / 2;
  EXPECT_THAT(read(), IsEmpty());
  now_ += options_.hold;
  EXPECT_THAT(read(), ElementsAre("b:2"));
}

// Wherever the connection is interrupted, no flow is lost or comes twice.
TEST_F(FlowClusterReader, ANodeThatComesBackGoesOnWhereItWas) {
  node("a").add(1, 101);
  node("b");
  ASSERT_TRUE(open("follow: true number: 5"));
  EXPECT_THAT(read(), ElementsAre("+a,b", "a:1"));
  set("a", NodeState::kAway);
  EXPECT_THAT(read(), ElementsAre("-a"));
  node("a").add(2, 102);
  set("a", NodeState::kConnected);
  auto lines = read();
  now_ += options_.hold;
  std::ranges::copy(read(), std::back_inserter(lines));
  EXPECT_THAT(lines, ElementsAre("+a", "a:2"));
  // The same without a word that it was away.
  node("a").requests.clear();
  set("a", NodeState::kConnected);
  node("a").add(3, 103);
  lines = read();
  now_ += options_.hold;
  std::ranges::copy(read(), std::back_inserter(lines));
  EXPECT_THAT(lines, ElementsAre("+a", "a:3"));
}

TEST_F(FlowClusterReader, ANodeThatIsNewTakesPart) {
  node("a");
  ASSERT_TRUE(open("follow: true"));
  EXPECT_THAT(read(), ElementsAre("+a"));
  auto& added = node("n");
  added.add(1, 4'000'000'000);
  set("n", NodeState::kConnected);
  auto lines = read();
  now_ += options_.hold;
  std::ranges::copy(read(), std::back_inserter(lines));
  EXPECT_THAT(lines, ElementsAre("+n", "n:1"));
  set("n", NodeState::kGone);
  EXPECT_THAT(read(), ElementsAre("gone n"));
}

TEST_F(FlowClusterReader, AnOlderViewOfANodeIsPassedOver) {
  node("a").add(1, 101);
  node("a").silent = true;
  ASSERT_TRUE(open(""));
  reader_->on_node("a", views_["a"], now_);
  reader_->on_node("a", {.state = NodeState::kAway, .generation = 0}, now_);
  node("a").silent = false;
  EXPECT_THAT(read(), ElementsAre("+a", "a:1", "END"));
}

TEST_F(FlowClusterReader, ALateNodeOfThoseThatAreFollowedIsNotLost) {
  node("a").add(1, 101);
  node("b").add(2, 102);
  node("b").silent = true;
  ASSERT_TRUE(open("follow: true number: 5"));
  EXPECT_THAT(read(), ElementsAre("+a,b"));
  now_ += options_.patience;
  EXPECT_THAT(read(), ElementsAre("-b", "a:1"));
  node("b").silent = false;
  auto lines = read();
  now_ += options_.hold;
  std::ranges::copy(read(), std::back_inserter(lines));
  EXPECT_THAT(lines, ElementsAre("+b", "b:2"));
}

TEST_F(FlowClusterReader, EndsAtATimeThatIsFollowedTo) {
  node("a").add(1, 101);
  node("b").add(2, 102);
  node("b").add(3, 200);
  ASSERT_TRUE(open("follow: true number: 9 until { seconds: 150 }"));
  auto lines = read();
  EXPECT_THAT(lines, ElementsAre("+a,b", "a:1", "b:2", "END"));
  ASSERT_TRUE(open("follow: true until { seconds: 150 }"));
  EXPECT_THAT(read(), ElementsAre("+a,b", "END"));
}

TEST_F(FlowClusterReader, LostEventsAreToldByNode) {
  node("a").store = std::make_unique<Store>(4, 1);
  node("b");
  ASSERT_TRUE(open("follow: true"));
  EXPECT_THAT(read(), ElementsAre("+a,b"));
  for (std::uint16_t port = 1; port <= 10; ++port) {
    node("a").add(port, 100 + port);
  }
  EXPECT_THAT(read(), ElementsAre("lost 6 a"));
  now_ += options_.hold;
  EXPECT_THAT(read(), ElementsAre("a:7", "a:8", "a:9", "a:10"));
}

TEST_F(FlowClusterReader, LostEventsAreToldWithTheirTimes) {
  node("a").store = std::make_unique<Store>(4, 1);
  node("a").add(1, 101);
  ASSERT_TRUE(open("follow: true since { seconds: 1 }"));
  EXPECT_THAT(read(), ElementsAre("+a"));
  now_ += options_.hold;
  EXPECT_THAT(read(), ElementsAre("a:1"));
  for (std::uint16_t port = 2; port <= 10; ++port) {
    node("a").add(port, 100 + port);
  }
  EXPECT_THAT(read(), ElementsAre("lost 5 a"));
  EXPECT_EQ(lost_.first().seconds(), 101);
  EXPECT_EQ(lost_.last().seconds(), 110);
}

// A node that connects anew before the request has been sent gets the request
// on its new connection.
TEST_F(FlowClusterReader, WhatAnEarlierConnectionWasAskedForIsCancelled) {
  node("a");
  ASSERT_TRUE(open("follow: true"));
  set("a", NodeState::kConnected);
  EXPECT_THAT(read(), ElementsAre("+a"));
  EXPECT_THAT(node("a").requests, SizeIs(1));
}

TEST_F(FlowClusterReader, NothingGrowsWhileNodesComeAndGo) {
  node("a");
  ASSERT_TRUE(open("follow: true"));
  for (int i = 0; i < 1'000; ++i) {
    set("a", NodeState::kAway);
    set("a", NodeState::kConnected);
    reader_->take_commands();
  }
  const auto lines = read();
  EXPECT_THAT(lines, ElementsAre("+a"));
}

}  // namespace
}  // namespace sluice::flow::test
