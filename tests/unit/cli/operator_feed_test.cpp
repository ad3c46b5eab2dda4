// SPDX-License-Identifier: Apache-2.0
#include "cli/operator_feed.h"

#include <future>
#include <string>
#include <utility>

#include <gtest/gtest.h>

// What a reader gets while flows come, and when they end.
namespace sluice::cli {
namespace {

using Message = OperatorFeed::Message;
using Step = OperatorFeed::Step;
using std::chrono::milliseconds;

Message flow_of(const std::string& pod) {
  Message message;
  message.mutable_flow()->mutable_source()->set_pod_name(pod);
  return message;
}

// Reads what a test says, until it says more.
class Operator {
 public:
  OperatorFeed::Read read() {
    return [this](const OperatorFeed::Take& take,
                  const OperatorFeed::Stopped& stopped) -> Result<void> {
      take_.set_value(&take);
      const auto end = end_.get_future();
      while (end.wait_for(milliseconds(1)) != std::future_status::ready) {
        if (stopped()) {
          return fail("stopped");
        }
      }
      return problem_.empty() ? Result<void>() : fail(problem_);
    };
  }
  bool give(const Message& message) {
    if (given_ == nullptr) {
      given_ = take_.get_future().get();
    }
    return (*given_)(message);
  }
  void end(const std::string& problem = {}) {
    problem_ = problem;
    end_.set_value();
  }

 private:
  std::promise<const OperatorFeed::Take*> take_;
  const OperatorFeed::Take* given_ = nullptr;
  std::promise<void> end_;
  std::string problem_;
};

// The first step that is not kBusy.
Step next(OperatorFeed& feed, Message& message) {
  auto step = Step::kBusy;
  while (step == Step::kBusy) {
    step = feed.next(message);
  }
  return step;
}

TEST(OperatorFeed, AFollowerWaitsOnceFlowsHaveCome) {
  Operator op;
  OperatorFeed feed({.follow = true}, op.read());
  Message message;
  EXPECT_EQ(feed.next(message), Step::kBusy);
  EXPECT_TRUE(op.give(flow_of("a")));
  EXPECT_EQ(next(feed, message), Step::kMessage);
  EXPECT_EQ(message.flow().source().pod_name(), "a");
  EXPECT_EQ(feed.next(message), Step::kWait);
  EXPECT_TRUE(op.give(flow_of("b")));
  EXPECT_EQ(feed.next(message), Step::kMessage);
}

TEST(OperatorFeed, WhoDoesNotFollowGetsAllOfThemAndTheEnd) {
  Operator op;
  OperatorFeed feed({}, op.read());
  EXPECT_TRUE(op.give(flow_of("a")));
  Message message;
  EXPECT_EQ(next(feed, message), Step::kMessage);
  EXPECT_EQ(feed.next(message), Step::kBusy) << "there may be more";
  op.end();
  EXPECT_EQ(next(feed, message), Step::kEnd);
  EXPECT_EQ(feed.problem(), "");
}

TEST(OperatorFeed, SaysWhyThereAreNoMore) {
  Operator op;
  OperatorFeed feed({.follow = true}, op.read());
  EXPECT_TRUE(op.give(flow_of("a")));
  op.end("403 Forbidden");
  Message message;
  EXPECT_EQ(next(feed, message), Step::kMessage);
  while (next(feed, message) == Step::kWait) {
  }
  EXPECT_EQ(feed.problem(), "403 Forbidden");
}

TEST(OperatorFeed, FlowsForWhichThereIsNoRoomAreCounted) {
  Operator op;
  OperatorFeed feed({.follow = true, .most = 2}, op.read());
  for (const auto* pod : {"a", "b", "c", "d", "e"}) {
    EXPECT_TRUE(op.give(flow_of(pod)));
  }
  Message message;
  EXPECT_EQ(next(feed, message), Step::kMessage);
  EXPECT_EQ(message.flow().source().pod_name(), "a");
  EXPECT_EQ(next(feed, message), Step::kMessage);
  EXPECT_EQ(next(feed, message), Step::kMessage);
  EXPECT_FALSE(message.has_flow());
  EXPECT_EQ(message.lost_events().num_events_lost(), 3U);
  EXPECT_EQ(feed.next(message), Step::kWait);
}

TEST(OperatorFeed, EndsWithoutAProblemIfNothingIsTaken) {
  Operator op;
  OperatorFeed feed({.follow = true, .idle = milliseconds(0)}, op.read());
  Message message;
  EXPECT_EQ(next(feed, message), Step::kEnd);
  EXPECT_EQ(feed.problem(), "");
}

TEST(OperatorFeed, EndsTheCallWhenItGoes) {
  Operator op;
  {
    const OperatorFeed feed({.follow = true}, op.read());
    EXPECT_TRUE(op.give(flow_of("a")));
  }
  // The thread is gone, and with it its use of `op`.
}

}  // namespace
}  // namespace sluice::cli
