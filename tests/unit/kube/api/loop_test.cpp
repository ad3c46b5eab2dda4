// SPDX-License-Identifier: Apache-2.0
#include "lib/base/loop.h"

#include <memory>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/kube/api/backoff.h"
#include "tests/unit/kube/api/server.h"

// The event loop of the API client.
namespace sluice::kube::test {
namespace {

using std::chrono::milliseconds;

class LoopTest : public testing::Test {
 protected:
  static bool readable(int fd) {
    pollfd waiting{.fd = fd, .events = POLLIN, .revents = 0};
    return ::poll(&waiting, 1, 0) == 1;
  }
  std::unique_ptr<Loop> loop_ = *Loop::create();
};

TEST_F(LoopTest, timers_come_in_order_and_not_early) {
  std::string order;
  const auto start = Loop::Clock::now();
  const Timer late = loop_->after(milliseconds(30), [&] { order += 'b'; });
  const Timer early = loop_->after(milliseconds(10), [&] { order += 'a'; });
  ASSERT_TRUE(run_until(*loop_, [&] { return order.size() == 2; }));
  EXPECT_EQ(order, "ab");
  EXPECT_GE(Loop::Clock::now() - start, milliseconds(30));
}

TEST_F(LoopTest, a_timer_that_is_destroyed_does_not_come) {
  bool called = false;
  bool other = false;
  {
    const Timer gone = loop_->after(milliseconds(1), [&] { called = true; });
  }
  const Timer timer = loop_->after(milliseconds(5), [&] { other = true; });
  ASSERT_TRUE(run_until(*loop_, [&] { return other; }));
  EXPECT_FALSE(called);
}

TEST_F(LoopTest, a_callback_may_destroy_another_that_is_due) {
  int calls = 0;
  Timer first;
  Timer second;
  first = loop_->after(milliseconds(0), [&] {
    ++calls;
    second.cancel();
  });
  second = loop_->after(milliseconds(0), [&] {
    ++calls;
    first.cancel();
  });
  ASSERT_TRUE(run_for(*loop_, milliseconds(5)));
  EXPECT_EQ(calls, 1);
}

TEST_F(LoopTest, a_repeated_timer_comes_until_it_is_destroyed) {
  int calls = 0;
  const auto start = Loop::Clock::now();
  Timer timer = loop_->every(milliseconds(5), [&] { ++calls; });
  ASSERT_TRUE(run_until(*loop_, [&] { return calls == 3; }));
  EXPECT_GE(Loop::Clock::now() - start, milliseconds(15));
  timer.cancel();
  ASSERT_TRUE(run_for(*loop_, milliseconds(20)));
  EXPECT_EQ(calls, 3);
}

TEST_F(LoopTest, a_repeated_timer_may_destroy_itself) {
  const auto alive = std::make_shared<int>(0);
  Timer timer;
  timer = loop_->every(milliseconds(1), [&timer, alive] {
    timer.cancel();
    ++*alive;
  });
  ASSERT_TRUE(run_for(*loop_, milliseconds(20)));
  EXPECT_EQ(*alive, 1);
  EXPECT_EQ(alive.use_count(), 1) << "the callback is still there";
}

TEST_F(LoopTest, its_descriptor_says_when_there_is_work) {
  EXPECT_FALSE(readable(loop_->poll_fd()));
  bool deferred = false;
  loop_->defer([&] { deferred = true; });
  EXPECT_TRUE(readable(loop_->poll_fd()));
  loop_->dispatch();
  EXPECT_TRUE(deferred);
  EXPECT_FALSE(readable(loop_->poll_fd()));
}

TEST_F(LoopTest, work_is_posted_from_other_threads) {
  int sum = 0;
  std::thread other([&] {
    for (int i = 1; i <= 100; ++i) {
      loop_->post([&sum, i] { sum += i; });
    }
  });
  EXPECT_TRUE(run_until(*loop_, [&] { return sum == 5050; }));
  other.join();
}

TEST_F(LoopTest, descriptors_are_watched_until_removed) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const Fd in(ends[0]);
  const Fd out(ends[1]);
  std::string seen;
  ASSERT_TRUE(loop_->set_fd(in.get(), EPOLLIN, [&](std::uint32_t) {
    char c = 0;
    if (::read(in.get(), &c, 1) == 1) {
      seen += c;
    }
  }));
  ASSERT_EQ(::write(out.get(), "ab", 2), 2);
  ASSERT_TRUE(run_until(*loop_, [&] { return seen == "ab"; }));
  loop_->remove_fd(in.get());
  ASSERT_EQ(::write(out.get(), "c", 1), 1);
  loop_->dispatch();
  EXPECT_EQ(seen, "ab");
}

TEST(BackoffTest, delays_are_random_grow_and_stay_below_the_cap) {
  Backoff backoff(milliseconds(10), milliseconds(1000));
  milliseconds longest{0};
  for (int i = 0; i < 1000; ++i) {
    const auto delay = backoff.next();
    EXPECT_GE(delay, milliseconds(10));
    EXPECT_LE(delay, milliseconds(1000));
    longest = std::max(longest, delay);
  }
  EXPECT_GT(longest, milliseconds(500));
  backoff.reset();
  EXPECT_LE(backoff.next(), milliseconds(30));
}

}  // namespace
}  // namespace sluice::kube::test
