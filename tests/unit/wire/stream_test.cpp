// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "tests/unit/wire/world.h"

namespace sluice::wire::test {
namespace {

using testing::Test;

// One operator and one agent that has been given `state` as revision 1.
class WireStream : public Test {
 protected:
  void begin(const ServerOptions& options = Operator::plain(), int pods = 3) {
    op.emplace(options);
    state = make_state(pods);
    agent.emplace(Agent::plain(*op, folder));
    serve_snapshot(*op, 1);
  }
  void serve_snapshot(Operator& from, std::uint64_t revision) {
    const auto asked = from.snapshot_needed.size();
    const auto had = agent->snapshots;
    ASSERT_TRUE(run_until({&from}, {&*agent},
                          [&] { return from.snapshot_needed.size() > asked; }));
    from.send_snapshot("a", revision, state);
    ASSERT_TRUE(run_until({&from}, {&*agent}, [&] {
      return agent->snapshots > had && from.acks["a"].received == revision;
    }));
  }
  void change(Operator& to, std::uint64_t revision, int pod,
              std::uint32_t cidr_id) {
    const auto transaction = make_change(revision, pod, cidr_id);
    sluice::apply(state, *transaction);
    to.server->send("a", transaction);
  }
  bool run(const std::function<bool()>& done) {
    return run_until({&*op}, {&*agent}, done);
  }

  TemporaryFolder folder;
  State state;
  std::optional<Operator> op;
  std::optional<Agent> agent;
};

TEST_F(WireStream, SubscriberGetsSnapshotThenTransactionsInOrder) {
  begin();
  EXPECT_TRUE(same(agent->state, state));
  ASSERT_EQ(op->connected.size(), 1U);
  EXPECT_EQ(op->connected[0].node, "a");
  EXPECT_EQ(op->connected[0].agent_version, "agent-test");
  EXPECT_FALSE(op->connected[0].resumed);
  for (std::uint64_t revision = 2; revision <= 20; ++revision) {
    change(*op, revision, static_cast<int>(revision % 3),
           static_cast<std::uint32_t>(revision));
  }
  ASSERT_TRUE(run([&] { return op->acks["a"].received == 20; }));
  EXPECT_EQ(op->acks["a"].applied, 20U);
  EXPECT_TRUE(same(agent->state, state));
  EXPECT_EQ(agent->snapshots, 1);
}

TEST_F(WireStream, LargeSnapshotAndTransactionGoInChunks) {
  auto options = Operator::plain();
  options.chunk_bytes = 10'000;
  begin(options, 20'000);
  EXPECT_TRUE(same(agent->state, state));
  EXPECT_GT(op->server->stats().messages_sent, 100U);
  const auto to = make_state(20'000, 8);
  auto difference = std::make_shared<Transaction>(diff(state, to));
  difference->revision = 2;
  op->server->send("a", difference);
  ASSERT_TRUE(run([&] { return op->acks["a"].received == 2; }));
  EXPECT_TRUE(same(agent->state, to));
  EXPECT_EQ(agent->transactions, 1);
}

TEST_F(WireStream, FailuresReachTheOperator) {
  begin();
  agent->failures = {
      {.policy_set = 42, .endpoint = {}, .message = "half done"},
      {.policy_set = 0, .endpoint = {}, .message = "full"},
      {.policy_set = 0, .endpoint = "default/x", .message = "\xff"}};
  change(*op, 2, 0, 9);
  ASSERT_TRUE(run([&] { return op->acks["a"].received == 2; }));
  EXPECT_EQ(op->acks["a"].applied, 0U);
  EXPECT_EQ(op->acks["a"].failures, agent->failures);
}

TEST_F(WireStream, SlowAgentGetsOneMergedTransaction) {
  begin();
  agent->acknowledges = false;
  const auto unacknowledged = Operator::plain().unacknowledged_max;
  // Nothing is acknowledged: no more than that are sent, the rest becomes one.
  for (std::uint64_t revision = 2; revision <= 101; ++revision) {
    change(*op, revision, static_cast<int>(revision % 3),
           static_cast<std::uint32_t>(revision));
  }
  EXPECT_GE(op->server->stats().transactions_merged, 90U);
  ASSERT_TRUE(run([&] {
    return agent->transactions == static_cast<int>(unacknowledged) ||
           agent->revision == 101;
  }));
  agent->acknowledges = true;
  agent->client->acknowledge({.received = agent->revision,
                              .applied = agent->revision,
                              .failures = {}});
  ASSERT_TRUE(run([&] { return op->acks["a"].received == 101; }));
  EXPECT_LE(agent->transactions, static_cast<int>(unacknowledged) + 2);
  EXPECT_TRUE(same(agent->state, state));
}

TEST_F(WireStream, TooMuchForASlowAgentBecomesASnapshot) {
  auto options = Operator::plain();
  options.pending_changes_max = 50;
  begin(options, 200);
  agent->acknowledges = false;
  for (std::uint64_t revision = 2; revision <= 200; ++revision) {
    change(*op, revision, static_cast<int>(revision) - 1, 9);
  }
  ASSERT_TRUE(run([&] { return op->snapshot_needed.size() == 2; }));
  agent->acknowledges = true;
  op->send_snapshot("a", 200, state);
  ASSERT_TRUE(run([&] { return op->acks["a"].received == 200; }));
  EXPECT_EQ(agent->snapshots, 2);
  EXPECT_TRUE(same(agent->state, state));
}

TEST_F(WireStream, ReconnectToTheSameOperatorGetsTheDifference) {
  begin();
  op->server->disconnect("a", "test");
  ASSERT_TRUE(run([&] { return !op->disconnected.empty(); }));
  change(*op, 2, 0, 21);
  change(*op, 3, 1, 22);
  ASSERT_TRUE(run([&] { return op->acks["a"].received == 3; }));
  EXPECT_EQ(agent->connects, (std::vector<bool>{false, true}));
  EXPECT_EQ(agent->snapshots, 1);
  EXPECT_TRUE(same(agent->state, state));
}

TEST_F(WireStream, WhatWasLostOnTheWayIsSentAgain) {
  begin();
  agent->acknowledges = false;
  change(*op, 2, 0, 21);
  ASSERT_TRUE(run([&] { return agent->revision == 2; }));
  // The agent has 2, which the operator cannot know; 3 may not have arrived.
  change(*op, 3, 1, 22);
  op->server->disconnect("a", "test");
  agent->acknowledges = true;
  change(*op, 4, 2, 23);
  ASSERT_TRUE(run([&] { return op->acks["a"].received == 4; }));
  EXPECT_EQ(agent->snapshots, 1);
  EXPECT_TRUE(same(agent->state, state));
}

TEST_F(WireStream, ReconnectToAnotherOperatorGetsASnapshot) {
  begin();
  auto options = Operator::plain();
  options.address = "127.0.0.1:" + std::to_string(op->server->port());
  op.reset();
  Operator other(options);
  state = make_state(2, 77);
  serve_snapshot(other, 1);  // a revision that the first one used too
  EXPECT_EQ(agent->connects, (std::vector<bool>{false, false}));
  EXPECT_TRUE(same(agent->state, state));
}

TEST_F(WireStream, ViewBegunAnewMeanwhileIsNotResumed) {
  begin();
  // The operator's revisions begin at 1 again; the agent's 1 is of another
  // view.
  state = make_state(3, 70);
  agent->acknowledges = false;
  op->send_snapshot("a", 1, state);
  op->server->disconnect("a", "before it arrives, perhaps");
  agent->acknowledges = true;
  ASSERT_TRUE(run([&] {
    return op->snapshot_needed.size() == 2 || op->connected.size() == 2;
  }));
  if (op->snapshot_needed.size() == 2) {
    op->send_snapshot("a", 1, state);
  }
  ASSERT_TRUE(run([&] { return same(agent->state, state); }));
}

TEST_F(WireStream, AbsentAgentIsForgotten) {
  auto options = Operator::plain();
  options.resume_for = 100ms;
  begin(options);
  agent.reset();
  ASSERT_TRUE(run_until({&*op}, {}, [&] { return !op->forgotten.empty(); }));
  EXPECT_EQ(op->forgotten[0], "a");
  EXPECT_EQ(op->server->stats().agents, 0U);
  agent.emplace(Agent::plain(*op, folder));
  serve_snapshot(*op, 1);
}

TEST_F(WireStream, SecondAgentForANodeReplacesTheFirst) {
  begin();
  auto options = Agent::plain(*op, folder);
  options.backoff_first = options.backoff_max = 1h;
  Agent second(options);
  ASSERT_TRUE(run_until({&*op}, {&*agent, &second}, [&] {
    return !agent->problems.empty() && second.connects.size() == 1;
  }));
  EXPECT_NE(agent->problems[0].find("another agent has subscribed"),
            std::string::npos);
  EXPECT_TRUE(op->disconnected.empty());
}

TEST_F(WireStream, SettingsFollowWhatWasSentBeforeThem) {
  begin();
  change(*op, 2, 0, 21);
  op->server->set_on_unknown("a", OnUnknown::kDeny);
  ASSERT_TRUE(run([&] { return agent->on_unknown == OnUnknown::kDeny; }));
  EXPECT_EQ(agent->revision, 2U);
  op->server->set_on_unknown("a", OnUnknown::kAgentDefault);
  ASSERT_TRUE(
      run([&] { return agent->on_unknown == OnUnknown::kAgentDefault; }));
}

TEST_F(WireStream, SettingsAreToldAgainAfterAReconnect) {
  begin();
  op->server->set_on_unknown("a", OnUnknown::kDeny);
  ASSERT_TRUE(run([&] { return agent->on_unknown == OnUnknown::kDeny; }));
  agent->on_unknown.reset();
  op->server->disconnect("a", "test");
  ASSERT_TRUE(run([&] { return agent->on_unknown == OnUnknown::kDeny; }));
}

TEST_F(WireStream, AddressesOfANodeAreToldWholeAndAgainAfterAReconnect) {
  begin();
  const std::vector<IpAddress> some{*parse_ip("10.0.0.1"),
                                    *parse_ip("fd00::1")};
  agent->client->set_addresses(some);
  ASSERT_TRUE(run([&] { return op->addresses["a"] == some; }));
  op->addresses.clear();
  op->server->disconnect("a", "test");
  ASSERT_TRUE(run([&] { return op->addresses["a"] == some; }));
  agent->client->set_addresses({some[1]});
  ASSERT_TRUE(run([&] { return op->addresses["a"].size() == 1; }));
  agent->client->set_addresses({});
  ASSERT_TRUE(run([&] { return op->addresses["a"].empty(); }));
  // What is too much is left out, not refused.
  const std::vector<IpAddress> many(kNodeAddressesMax + 1, some[0]);
  agent->client->set_addresses(many);
  ASSERT_TRUE(
      run([&] { return op->addresses["a"].size() == kNodeAddressesMax; }));
  EXPECT_TRUE(op->refused.empty());
}

TEST_F(WireStream, TransactionWithoutChangesIsAcknowledged) {
  begin();
  auto empty = std::make_shared<Transaction>();
  empty->revision = 2;
  op->server->send("a", empty);
  ASSERT_TRUE(run([&] { return op->acks["a"].received == 2; }));
}

TEST_F(WireStream, OnlySoManySnapshotsAtOnce) {
  auto options = Operator::plain();
  options.snapshots_max = 1;
  op.emplace(options);
  agent.emplace(Agent::plain(*op, folder));
  auto other = Agent::plain(*op, folder);
  other.node = "b";
  Agent second(other);
  ASSERT_TRUE(run_until({&*op}, {&*agent, &second}, [&] {
    return op->connected.size() == 2 && !op->snapshot_needed.empty();
  }));
  ASSERT_EQ(op->snapshot_needed.size(), 1U);
  op->send_snapshot(op->snapshot_needed[0], 1, make_state(1));
  ASSERT_TRUE(run_until({&*op}, {&*agent, &second},
                        [&] { return op->snapshot_needed.size() == 2; }));
  EXPECT_NE(op->snapshot_needed[0], op->snapshot_needed[1]);
}

}  // namespace
}  // namespace sluice::wire::test
