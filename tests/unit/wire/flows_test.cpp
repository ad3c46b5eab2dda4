// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/wire/codec.h"
#include "tests/unit/wire/one_agent.h"
#include "tests/unit/wire/world.h"

namespace sluice::wire::test {
namespace {

using ::testing::HasSubstr;

std::shared_ptr<const FlowRequest> make_request() {
  FlowRequest request;
  request.kind = FlowKind::kFlows;
  request.request = "number: 20";
  request.batch_bytes = 1'000;
  request.namespaces = {"shop"};
  return std::make_shared<const FlowRequest>(request);
}

FlowBatch make_batch(std::uint64_t id, const std::string& text) {
  FlowBatch batch;
  batch.id = id;
  batch.items = {{.time = 5, .message = text}, {.time = -6, .message = ""}};
  batch.lost = 7;
  batch.caught_up = true;
  return batch;
}

class WireFlows : public OneAgentTest {};

TEST_F(WireFlows, ARequestItsBatchesAndItsEnd) {
  begin();
  ASSERT_TRUE(op->server->request_flows("a", 7, make_request()));
  ASSERT_TRUE(run([&] { return agent->flow_requests.size() == 1; }));
  auto expected = *make_request();
  expected.id = 7;
  EXPECT_EQ(agent->flow_requests[0], expected);

  agent->client->give(make_batch(7, "one"));
  ASSERT_TRUE(run([&] { return op->flows.size() == 1; }));
  EXPECT_EQ(op->flows[0].first, "a");
  EXPECT_EQ(op->flows[0].second, make_batch(7, "one"));

  op->server->control_flows("a", {.id = 7, .cancel = false});
  op->server->control_flows("a", {.id = 7, .cancel = true});
  ASSERT_TRUE(run([&] { return agent->flow_controls.size() == 2; }));
  EXPECT_EQ(agent->flow_controls[0], (FlowControl{.id = 7, .cancel = false}));
  EXPECT_EQ(agent->flow_controls[1], (FlowControl{.id = 7, .cancel = true}));

  FlowBatch last;
  last.id = 7;
  last.last = true;
  last.code = 3;
  last.error = "no";
  agent->client->give(last);
  ASSERT_TRUE(run([&] { return op->flows.size() == 2; }));
  EXPECT_EQ(op->flows[1].second, last);
}

TEST_F(WireFlows, NobodyIsAskedWhoIsNotThere) {
  begin();
  EXPECT_FALSE(op->server->request_flows("b", 1, make_request()));
  op->server->control_flows("b", {.id = 1, .cancel = true});
  op->server->disconnect("a", "test");
  ASSERT_TRUE(run([&] { return !op->disconnected.empty(); }));
  EXPECT_FALSE(op->server->request_flows("a", 1, make_request()));
  agent->client->give(make_batch(1, "to nobody"));
  ASSERT_TRUE(run([&] { return agent->connects.size() == 2; }));
  EXPECT_TRUE(op->flows.empty());
}

// A new connection has none of the requests of the last one.
TEST_F(WireFlows, AConnectionTakesItsRequestsWithIt) {
  begin();
  op->server->disconnect("a", "test");
  ASSERT_TRUE(op->server->request_flows("a", 1, make_request()));
  ASSERT_TRUE(run([&] { return agent->connects.size() == 2; }));
  ASSERT_TRUE(run([&] { return op->connected.size() == 2; }));
  ASSERT_TRUE(op->server->request_flows("a", 2, make_request()));
  ASSERT_TRUE(run([&] { return !agent->flow_requests.empty(); }));
  EXPECT_EQ(agent->flow_requests.back().id, 2U);
  EXPECT_EQ(agent->flow_requests.size(), 1U);
}

TEST_F(WireFlows, PoliciesGoFirstToTheAgent) {
  begin();
  auto request = *make_request();
  request.request.assign(kFlowRequestBytesMax, 'x');
  const auto large = std::make_shared<const FlowRequest>(request);
  // More than a connection holds while the agent reads nothing.
  for (std::uint64_t id = 1; id <= 100; ++id) {
    ASSERT_TRUE(op->server->request_flows("a", id, large));
  }
  op->server->send("a", make_change(2, 0, 9));
  std::optional<std::size_t> before;
  ASSERT_TRUE(run([&] {
    if (agent->revision == 2 && !before) {
      before = agent->flow_requests.size();
    }
    return agent->flow_requests.size() == 100;
  }));
  ASSERT_TRUE(before.has_value());
  EXPECT_LT(*before, 50U);
}

// What an agent reports reaches the operator before its flows.
TEST_F(WireFlows, ReportsGoFirstToTheOperator) {
  begin();
  for (std::uint64_t i = 0; i < 50; ++i) {
    agent->client->give(make_batch(i, std::string(50'000, 'x')));
  }
  agent->client->set_addresses({*parse_ip("10.1.1.1")});
  std::size_t before = 50;
  ASSERT_TRUE(run([&] {
    if (op->addresses.contains("a")) {
      before = std::min(before, op->flows.size());
    }
    return op->flows.size() == 50;
  }));
  EXPECT_LT(before, 50U);
}

// An agent that reads nothing makes nothing grow: what it has not been sent is
// taken back.
TEST_F(WireFlows, ARequestThatHasNotBeenSentGoesWithItsEnd) {
  begin();
  for (std::uint64_t id = 1; id <= 5'000; ++id) {
    ASSERT_TRUE(op->server->request_flows("a", id, make_request()));
    op->server->control_flows("a", {.id = id, .cancel = true});
  }
  ASSERT_TRUE(op->server->request_flows("a", 6'000, make_request()));
  ASSERT_TRUE(run([&] {
    return !agent->flow_requests.empty() &&
           agent->flow_requests.back().id == 6'000;
  }));
  EXPECT_EQ(agent->flow_requests.size() - 1, agent->flow_controls.size());
}

TEST_F(WireFlows, WhatIsBeyondTheLimitsIsAnsweredWithAnError) {
  begin();
  auto request = *make_request();
  request.request.assign(kFlowRequestBytesMax + 1, 'x');
  ASSERT_TRUE(op->server->request_flows(
      "a", 9, std::make_shared<const FlowRequest>(request)));
  ASSERT_TRUE(run([&] { return op->flows.size() == 1; }));
  EXPECT_TRUE(op->flows[0].second.last);
  EXPECT_THAT(op->flows[0].second.error, HasSubstr("bytes"));
  EXPECT_TRUE(agent->flow_requests.empty());
  EXPECT_TRUE(agent->problems.empty());

  v1::FlowRequest newer;
  EXPECT_FALSE(decode(std::move(newer)).has_value());
  v1::FlowRequest many;
  many.set_kind(v1::FlowRequest::KIND_FLOWS);
  for (std::size_t i = 0; i <= kFlowNamespacesMax; ++i) {
    many.add_namespaces("x");
  }
  EXPECT_FALSE(decode(std::move(many)).has_value());
  v1::FlowRequest large;
  large.set_kind(v1::FlowRequest::KIND_FLOWS);
  large.set_batch_bytes(0xffffffff);
  EXPECT_EQ(decode(std::move(large))->batch_bytes, kFlowBatchBytesMax);
  v1::FlowBatch uneven;
  uneven.add_items("x");
  EXPECT_FALSE(decode(std::move(uneven)).has_value());
  v1::FlowBatch full;
  for (std::size_t i = 0; i <= kFlowBatchItemsMax; ++i) {
    full.add_items("");
    full.add_times(1);
  }
  EXPECT_FALSE(decode(std::move(full)).has_value());
}

// An agent whose batches are not well-formed loses its stream.
TEST_F(WireFlows, AnAgentThatSendsTooManyAtOnceIsRefused) {
  begin();
  FlowBatch batch;
  batch.items.resize(kFlowBatchItemsMax + 1);
  agent->client->give(batch);
  ASSERT_TRUE(run([&] { return !op->refused.empty(); }));
  EXPECT_THAT(op->refused[0], HasSubstr("flows"));
  EXPECT_TRUE(op->flows.empty());
}

}  // namespace
}  // namespace sluice::wire::test
