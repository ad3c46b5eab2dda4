// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/flow/cluster_reader.h"
#include "lib/flow/store.h"
#include "lib/flow/time.h"
#include "tests/unit/flow/cluster_reader_fixture.h"

namespace sluice::flow::test {
namespace {

using ::observer::GetFlowsRequest;
using ::observer::GetFlowsResponse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST_F(FlowClusterReader, NodesAreWhoTheyAre) {
  node("a");
  ASSERT_TRUE(open(""));
  const auto commands = reader_->take_commands();
  GetFlowsResponse forged;
  forged.set_node_name("b");
  forged.mutable_flow()->set_node_name("b");
  forged.mutable_flow()->mutable_l4()->mutable_tcp()->set_destination_port(7);
  wire::FlowBatch batch;
  batch.id = commands[0].id;
  batch.items = {{.time = 1, .message = forged.SerializeAsString()}};
  batch.last = true;
  reader_->on_batch(batch, now_);
  EXPECT_THAT(read(), ElementsAre("+a", "a:7", "END"));
}

TEST_F(FlowClusterReader, WhatANodeSendsMayBeAnything) {
  node("b").add(1, 101);
  const auto lines_for = [&](const wire::FlowBatch& made, int times = 1) {
    node("a").silent = true;
    EXPECT_TRUE(open(""));
    auto commands = reader_->take_commands();
    for (const auto& command : commands) {
      node(command.node).take(command);
      if (command.node != "a") {
        continue;
      }
      node("a").requests[command.id].wanted = 0;  // it answers as follows
      auto batch = made;
      batch.id = command.id;
      for (int i = 0; i < times; ++i) {
        reader_->on_batch(batch, now_);
      }
    }
    return read();
  };
  node("a");
  wire::FlowBatch batch;
  batch.items = {{.time = 1, .message = "\xff\xff"}};
  EXPECT_THAT(lines_for(batch), ElementsAre("+a,b", "error a", "b:1", "END"));
  batch.items = {{.time = 1, .message = ""}};
  EXPECT_THAT(lines_for(batch), ElementsAre("+a,b", "error a", "b:1", "END"));
  GetFlowsResponse status;
  status.mutable_node_status()->add_node_names("x");
  batch.items = {{.time = 1, .message = status.SerializeAsString()}};
  EXPECT_THAT(lines_for(batch), ElementsAre("+a,b", "error a", "b:1", "END"));
  // More than was asked for: of bytes, and of batches.
  batch.items = {{.time = 1, .message = std::string(70'000, 'x')}};
  EXPECT_THAT(lines_for(batch), ElementsAre("error a", "+b", "b:1", "END"));
  batch.items.clear();
  batch.items.resize(3, {.time = 1, .message = std::string(65'536, 'x')});
  EXPECT_THAT(lines_for(batch), ElementsAre("error a", "+b", "b:1", "END"));
  GetFlowsResponse good;
  good.mutable_flow()->mutable_l4()->mutable_tcp()->set_destination_port(5);
  batch.items = {{.time = 1, .message = good.SerializeAsString()}};
  options_.bytes_max = 1;  // it is not asked again before this is read
  EXPECT_THAT(lines_for(batch, 2),
              ElementsAre("error a", "+b", "a:5", "b:1", "END"));
  batch.items.clear();
  batch.last = true;
  batch.code = 13;
  batch.error = "broken";
  EXPECT_THAT(lines_for(batch), ElementsAre("error a", "+b", "b:1", "END"));
}

// A node's times are what it says.
TEST_F(FlowClusterReader, ATimeInTheFutureDoesNotHideOthers) {
  const auto now = flow::now();
  const auto batch_of = [&](std::uint64_t id, std::uint16_t port,
                            std::int64_t time) {
    GetFlowsResponse response;
    response.mutable_flow()->mutable_l4()->mutable_tcp()->set_destination_port(
        port);
    wire::FlowBatch batch;
    batch.id = id;
    batch.items = {{.time = time, .message = response.SerializeAsString()}};
    batch.caught_up = true;
    return batch;
  };
  // Nodes get the commands, and answer as follows.
  const auto take_commands = [&] {
    auto commands = reader_->take_commands();
    for (const auto& command : commands) {
      node(command.node).take(command);
      if (command.request) {
        node(command.node).requests[command.id].wanted = 0;
      }
    }
    return commands;
  };
  node("a");
  node("b");
  ASSERT_TRUE(open("number: 1 follow: true"));
  auto commands = take_commands();
  ASSERT_EQ(commands.size(), 2U);
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  reader_->on_batch(batch_of(commands[0].id, 1, kMost), now_);
  reader_->on_batch(batch_of(commands[1].id, 2, now + (120 * kNanoseconds)),
                    now_);
  EXPECT_THAT(read(), ElementsAre("+a,b", "b:2")) << "the later one";
  // It goes on at a time that there is.
  set("a", NodeState::kConnected);
  commands = take_commands();
  GetFlowsRequest request;
  ASSERT_TRUE(request.ParseFromString(commands.back().request->request));
  EXPECT_LE(nanoseconds(request.since()), now + (120 * kNanoseconds));
  ASSERT_TRUE(open("until { seconds: 1 }"));
  commands = take_commands();
  auto last = batch_of(commands[0].id, 3, -5);
  last.last = true;
  reader_->on_batch(last, now_);
  last = batch_of(commands[1].id, 4, 2 * kNanoseconds);
  last.last = true;
  reader_->on_batch(last, now_);
  EXPECT_THAT(read(), ElementsAre("+a,b", "a:3", "END"));
}

TEST_F(FlowClusterReader, RefusesWhatItCannotDo) {
  node("a");
  const auto refused = [&](const std::string& text) {
    const auto result = open(text);
    return result ? std::string() : result.error().message;
  };
  EXPECT_THAT(refused("first: true follow: true"), HasSubstr("combined"));
  EXPECT_THAT(refused("whitelist { http_method: 'GET' }"),
              HasSubstr("http_method"));
  EXPECT_THAT(refused("number: 10001"), HasSubstr("10000"));
  EXPECT_EQ(refused("number: 10001 first: true"), "");
  EXPECT_EQ(refused("number: 10000"), "");
  EXPECT_THAT(refused("whitelist { source_fqdn: '" +
                      std::string(kClusterRequestBytesMax, 'x') + "' }"),
              HasSubstr("bytes"));
  for (const auto& [name, node] : nodes_) {
    EXPECT_EQ(node->asked, 0);
  }
}

// Nodes with nothing among the newest flows are asked for few.
TEST_F(FlowClusterReader, TheLastFlowsOfManyNodesCostLittle) {
  for (int i = 0; i < 200; ++i) {
    auto& one = node("n" + std::to_string(1000 + i));
    for (std::uint16_t port = 1; port <= 100; ++port) {
      one.add(port, (100L * i) + port);
    }
  }
  const auto lines = flows("number: 100");
  ASSERT_EQ(lines.size(), 100U);
  EXPECT_EQ(lines.front(), "n1199:1");
  EXPECT_EQ(lines.back(), "n1199:100");
  std::size_t given = 0;
  for (const auto& [name, node] : nodes_) {
    given += node->given;
  }
  // Beside that node, twelve others had flows among the newest so far.
  EXPECT_LE(given, (200U * 8) + (13U * 100));
}

// Whatever the client does, no more than so many bytes wait for it.
TEST_F(FlowClusterReader, AClientThatReadsNothingCostsABoundedMemory) {
  options_.bytes_max = 100'000;
  for (int i = 0; i < 10; ++i) {
    auto& one = node("n" + std::to_string(i));
    one.store = std::make_unique<Store>(10'000, 1);
    for (int k = 0; k < 5'000; ++k) {
      one.add(2, 100 + k);
    }
  }
  ASSERT_TRUE(open("since { seconds: 0 }"));
  exchange();
  std::size_t bytes = 0;
  for (const auto& [name, node] : nodes_) {
    bytes += node->given_bytes;
  }
  EXPECT_LE(bytes, options_.bytes_max + (std::size_t{10} * 10'000));
  EXPECT_GT(bytes, std::size_t{10} * 4'096);
  // And it gets everything when it does read.
  EXPECT_THAT(read(), SizeIs(1 + (10 * 5'000) + 1));
}

TEST_F(FlowClusterReader, TheLastFlowsAreCutAtSoManyBytes) {
  options_.bytes_max = 20'000;
  auto& one = node("a");
  one.store = std::make_unique<Store>(1000, 1);
  for (int i = 0; i < 500; ++i) {
    one.add(2, 100 + i);
  }
  ASSERT_TRUE(open("number: 500"));
  const auto lines = read();
  ASSERT_GT(lines.size(), 10U);
  EXPECT_EQ(lines[0], "+a");
  EXPECT_EQ(lines[1], "lost " + std::to_string(500 - (lines.size() - 3)) + " ");
  EXPECT_LT(lines.size(), 200U);
}

}  // namespace
}  // namespace sluice::flow::test
