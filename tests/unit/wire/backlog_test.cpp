// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/backlog.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/world.h"

namespace sluice::wire::test {
namespace {

constexpr std::uint64_t kOrigin = 5;

// Everything that the encoder gives, put together again.
std::optional<Update> sent(std::optional<Encoder> encoder) {
  Decoder decoder(1 << 30);
  while (encoder && !encoder->done()) {
    v1::Chunk chunk;
    encoder->next(1000, chunk);
    auto update = decoder.add(chunk);
    EXPECT_TRUE(update) << update.error().message;
    if (!update) {
      return std::nullopt;
    }
    if (*update) {
      return std::move(*update);
    }
  }
  return std::nullopt;
}

// With a snapshot of revision 1 sent and acknowledged.
Backlog with_base(std::size_t changes_max = 1000,
                  std::size_t unacknowledged = 2) {
  Backlog backlog(changes_max, unacknowledged);
  backlog.replace(kOrigin, 1, std::make_shared<const State>(make_state(3)));
  EXPECT_TRUE(sent(backlog.next()));
  EXPECT_TRUE(backlog.acknowledge(kOrigin, 1));
  return backlog;
}

TEST(WireBacklog, NothingBeforeTheFirstSnapshot) {
  Backlog backlog(1000, 2);
  EXPECT_EQ(backlog.add(make_change(2, 0, 9)), Backlog::Added::kTooMuch);
  EXPECT_FALSE(backlog.next());
  EXPECT_FALSE(backlog.resume(0, 0));
}

TEST(WireBacklog, WhatWaitsIsMergedAndTheLastValueCounts) {
  auto backlog = with_base(1000, 1);
  EXPECT_EQ(backlog.add(make_change(2, 0, 9)), Backlog::Added::kAlone);
  ASSERT_TRUE(sent(backlog.next()));
  EXPECT_EQ(backlog.add(make_change(3, 0, 10)), Backlog::Added::kAlone);
  EXPECT_EQ(backlog.add(make_change(4, 1, 11)), Backlog::Added::kMerged);
  EXPECT_EQ(backlog.add(make_change(5, 0, 12)), Backlog::Added::kMerged);
  EXPECT_FALSE(backlog.next()) << "2 is not acknowledged";
  EXPECT_TRUE(backlog.acknowledge(kOrigin, 2));
  const auto update = sent(backlog.next());
  ASSERT_TRUE(update);
  EXPECT_EQ(update->revision, 5U);
  ASSERT_EQ(update->transaction.peers.size(), 2U);
  EXPECT_EQ(update->transaction.peers[0].cidr_id, 12U);
  EXPECT_EQ(update->transaction.peers[1].cidr_id, 11U);
}

TEST(WireBacklog, SharedTransactionIsNotChangedByMerging) {
  auto backlog = with_base();
  const auto first = make_change(2, 0, 9);
  backlog.add(first);
  backlog.add(make_change(3, 1, 10));
  EXPECT_EQ(first->revision, 2U);
  EXPECT_EQ(first->peers.size(), 1U);
}

TEST(WireBacklog, RepeatedChangesOfTheSameThingDoNotGrow) {
  auto backlog = with_base(10);
  for (std::uint64_t revision = 2; revision < 50'000; ++revision) {
    ASSERT_NE(backlog.add(make_change(revision, static_cast<int>(revision % 5),
                                      static_cast<std::uint32_t>(revision))),
              Backlog::Added::kTooMuch);
  }
  const auto update = sent(backlog.next());
  ASSERT_TRUE(update);
  EXPECT_EQ(update->transaction.peers.size(), 5U);
}

TEST(WireBacklog, BeyondItsBoundOnlyASnapshotHelps) {
  auto backlog = with_base(3);
  auto added = Backlog::Added::kAlone;
  for (int pod = 0; pod < 4; ++pod) {
    added =
        backlog.add(make_change(static_cast<std::uint64_t>(pod) + 2, pod, 9));
  }
  EXPECT_EQ(added, Backlog::Added::kTooMuch);
  EXPECT_FALSE(backlog.waiting());
  EXPECT_EQ(backlog.add(make_change(9, 0, 9)), Backlog::Added::kTooMuch);
  EXPECT_FALSE(backlog.resume(kOrigin, 1));
}

TEST(WireBacklog, ResumeSendsAgainWhatMayBeLost) {
  auto backlog = with_base();
  for (std::uint64_t revision = 2; revision <= 3; ++revision) {
    backlog.add(make_change(revision, static_cast<int>(revision), 9));
    ASSERT_TRUE(sent(backlog.next()));
  }
  backlog.add(make_change(4, 4, 9));
  // It has 2, although that was never acknowledged.
  ASSERT_TRUE(backlog.resume(kOrigin, 2));
  const auto update = sent(backlog.next());
  ASSERT_TRUE(update);
  EXPECT_EQ(update->revision, 4U);
  EXPECT_EQ(update->transaction.peers.size(), 2U);
  EXPECT_TRUE(backlog.acknowledge(kOrigin, 4));
  EXPECT_TRUE(backlog.resume(kOrigin, 4));
  EXPECT_FALSE(backlog.next());
}

TEST(WireBacklog, ResumeFromWhatWasNeverSentOrOfAnotherView) {
  for (const auto& [origin, revision] :
       std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {kOrigin, 3}, {kOrigin + 1, 1}, {0, 1}, {kOrigin, 0}}) {
    auto backlog = with_base();
    backlog.add(make_change(2, 0, 9));
    EXPECT_FALSE(backlog.resume(origin, revision));
    EXPECT_FALSE(backlog.waiting());
  }
}

TEST(WireBacklog, SnapshotThatIsNotAcknowledgedCanBeResumedFrom) {
  Backlog backlog(1000, 2);
  backlog.replace(kOrigin, 7, std::make_shared<const State>(make_state(3)));
  EXPECT_FALSE(backlog.resume(kOrigin, 7)) << "not even sent";
  backlog.replace(kOrigin, 7, std::make_shared<const State>(make_state(3)));
  ASSERT_TRUE(sent(backlog.next()));
  EXPECT_TRUE(backlog.resume(kOrigin, 7));
}

TEST(WireBacklog, AcknowledgementOfWhatWasNotSent) {
  auto backlog = with_base();
  EXPECT_FALSE(backlog.acknowledge(kOrigin, 2));
  EXPECT_TRUE(backlog.acknowledge(kOrigin, 1)) << "again: a failure's news";
  EXPECT_TRUE(backlog.acknowledge(kOrigin + 1, 99)) << "of a view that is gone";
  backlog.add(make_change(2, 0, 9));
  ASSERT_TRUE(sent(backlog.next()));
  ASSERT_TRUE(backlog.resume(kOrigin, 2));
  EXPECT_TRUE(backlog.acknowledge(kOrigin, 1)) << "what it last said, repeated";
  EXPECT_FALSE(backlog.resume(kOrigin, 1)) << "it had more than that";
}

TEST(WireBacklog, TidyKeepsTheLastOfEachKind) {
  const auto from = make_state(2);
  const auto to = make_state(1, 8);
  auto all = diff(State{}, from);
  append(all, diff(from, to));
  tidy(all);
  EXPECT_EQ(size_of(all), 2U + 2U + 2U + 1U + 1U + 1U + 1U);
  State state;
  sluice::apply(state, all);
  EXPECT_TRUE(same(state, to));
}

}  // namespace
}  // namespace sluice::wire::test
