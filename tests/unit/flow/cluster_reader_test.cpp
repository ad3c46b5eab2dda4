// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster_reader.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "lib/flow/cursor.h"
#include "lib/flow/store.h"
#include "tests/unit/flow/cluster_reader_fixture.h"

namespace sluice::flow::test {
namespace {

using ::observer::GetFlowsRequest;
using ::observer::GetFlowsResponse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(FlowClusterReader, GivesTheFlowsThatAreAskedForInTheOrderOfTime) {
  for (const int port : {1, 4, 5}) {
    node("a").add(static_cast<std::uint16_t>(port), 100 + port);
  }
  for (const int port : {2, 3, 6}) {
    node("b").add(static_cast<std::uint16_t>(port), 100 + port);
  }
  node("c");
  EXPECT_THAT(flows(""), ElementsAre("a:1", "b:2", "b:3", "a:4", "a:5", "b:6"));
  EXPECT_THAT(flows("number: 2"), ElementsAre("a:5", "b:6"));
  EXPECT_THAT(flows("number: 99"),
              ElementsAre("a:1", "b:2", "b:3", "a:4", "a:5", "b:6"));
  EXPECT_THAT(flows("number: 18446744073709551615"), SizeIs(6));
  EXPECT_THAT(flows("number: 3 first: true"), ElementsAre("a:1", "b:2", "b:3"));
  EXPECT_THAT(flows("since { seconds: 103 }"),
              ElementsAre("b:3", "a:4", "a:5", "b:6"));
  EXPECT_THAT(flows("since { seconds: 103 } number: 2"),
              ElementsAre("b:3", "a:4"));
  EXPECT_THAT(flows("since { seconds: 102 } until { seconds: 104 }"),
              ElementsAre("b:2", "b:3", "a:4"));
  EXPECT_THAT(flows("until { seconds: 102 }"), ElementsAre("a:1", "b:2"));
  EXPECT_THAT(flows("number: 2 until { seconds: 105 }"), ElementsAre("a:5"))
      << "the last two, as far as they are not younger";
  EXPECT_THAT(flows("number: 2 whitelist { verdict: DROPPED }"),
              ElementsAre("b:3", "a:5"));
  EXPECT_THAT(flows("number: 2 blacklist { node_name: 'a' }"),
              ElementsAre("b:3", "b:6"));
}

// The answers are those of one store that has all flows.
TEST_F(FlowClusterReader, GivesWhatOneStoreWouldGive) {
  Node all("all");
  all.store = std::make_unique<Store>(1000, 1);
  unsigned random = 1;
  for (std::int64_t i = 0; i < 90; ++i) {
    random = random * 1664525 + 1013904223;
    const auto port = static_cast<std::uint16_t>(1 + i);
    const auto name =
        std::string(1, static_cast<char>('a' + ((random >> 16U) % 7)));
    node(name).add(port, 100 + i);
    all.add(port, 100 + i);
  }
  for (const auto* text :
       {"", "number: 1", "number: 9", "number: 30", "number: 5 first: true",
        "since { seconds: 150 }", "since { seconds: 150 } number: 7",
        "number: 40 until { seconds: 170 }", "until { seconds: 120 }",
        "number: 6 whitelist { verdict: DROPPED }",
        "number: 20 whitelist { destination_port: '3' }"}) {
    GetFlowsRequest request;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request));
    auto cursor = FlowCursor::open(*all.store, request, "all");
    std::vector<std::string> expected;
    GetFlowsResponse response;
    for (auto step = FlowCursor::Step::kBusy; step != FlowCursor::Step::kEnd;
         step = cursor->next(response)) {
      if (step == FlowCursor::Step::kMessage) {
        expected.push_back(
            std::to_string(response.flow().l4().tcp().destination_port()));
      }
    }
    std::vector<std::string> got;
    for (const auto& line : flows(text)) {
      got.push_back(line.substr(line.find(':') + 1));
    }
    EXPECT_EQ(got, expected) << text;
  }
}

// As Hubble Relay does.
TEST_F(FlowClusterReader, SaysWhoKnowsOfNodes) {
  options_.name = "operator-1";
  node("a");
  ASSERT_TRUE(open(""));
  GetFlowsResponse response;
  ASSERT_EQ(reader_->next(response, now_), ClusterReader::Step::kMessage);
  EXPECT_TRUE(response.has_node_status());
  EXPECT_EQ(response.node_name(), "operator-1");
}

TEST_F(FlowClusterReader, SaysWhichNodesThereAre) {
  node("a").add(1, 101);
  node("b").add(2, 102);
  set("c", NodeState::kAway);
  set("d", NodeState::kTooOld);
  ASSERT_TRUE(open(""));
  EXPECT_THAT(read(), ElementsAre("+a,b", "-c", "-d", "a:1", "b:2", "END"));
}

TEST_F(FlowClusterReader, ANodeThatDoesNotAnswerIsWaitedForAWhile) {
  node("a").add(1, 101);
  node("b").add(2, 102);
  node("b").silent = true;
  for (const auto* text : {"", "number: 5"}) {
    ASSERT_TRUE(open(text));
    EXPECT_THAT(read(), ElementsAre("+a,b"));
    EXPECT_LE(reader_->wake_at(), now_ + options_.patience);
    now_ += options_.patience;
    EXPECT_THAT(read(), ElementsAre("-b", "a:1", "END"));
    EXPECT_THAT(node("b").requests, IsEmpty()) << "nothing is wanted any more";
  }
}

TEST_F(FlowClusterReader, ANodeThatGoesMeanwhileIsToldOf) {
  node("a").add(1, 101);
  node("b").add(2, 102);
  node("c").add(3, 103);
  node("b").silent = node("c").silent = true;
  ASSERT_TRUE(open(""));
  EXPECT_THAT(read(), ElementsAre("+a,b,c"));
  set("b", NodeState::kAway);
  EXPECT_THAT(read(), ElementsAre("-b"));
  set("c", NodeState::kGone);
  EXPECT_THAT(read(), ElementsAre("gone c", "a:1", "END"));
}

// A node that has given everything may go.
TEST_F(FlowClusterReader, ANodeThatHasGivenEverythingIsComplete) {
  node("a").add(1, 101);
  node("b").add(2, 102);
  node("b").silent = true;
  ASSERT_TRUE(open(""));
  EXPECT_THAT(read(), ElementsAre("+a,b"));
  set("a", NodeState::kAway);
  node("b").silent = false;
  EXPECT_THAT(read(), ElementsAre("a:1", "b:2", "END"));
}

TEST_F(FlowClusterReader, OnlyFlowsOfTheNamespaces) {
  node("a").add(1, 101, "shop");
  node("a").add(2, 102, "bank");
  ASSERT_TRUE(open("", {"bank"}));
  EXPECT_THAT(read(), ElementsAre("+a", "a:2", "END"));
  // An agent that gives others is not believed.
  ASSERT_TRUE(open("", {"bank"}));
  auto commands = reader_->take_commands();
  ASSERT_EQ(commands.size(), 1U);
  auto request = std::make_shared<wire::FlowRequest>(*commands[0].request);
  EXPECT_THAT(request->namespaces, ElementsAre("bank"));
  request->namespaces.clear();
  commands[0].request = request;
  node("a").take(commands[0]);
  EXPECT_THAT(read(), ElementsAre("+a", "error a", "END"));
}

// Whoever may read a namespace may read what calls a Service there.
TEST_F(FlowClusterReader, AServiceIsInItsNamespace) {
  Record record;
  record.time = 101 * kNanoseconds;
  record.ip = true;
  record.protocol = IPPROTO_TCP;
  record.destination_port = 1;
  const auto pod = std::make_shared<const End>(End{.ns = "bank", .pod = "a"});
  const auto service = std::make_shared<const End>(End{.ns = "shop",
                                                       .pod = {},
                                                       .workload = {},
                                                       .workload_kind = {},
                                                       .labels = {},
                                                       .service = "db"});
  record.decision = std::make_shared<const Decision>();
  record.from = pod;
  record.to = service;
  node("a").store->add(record);
  record.destination_port = 2;
  std::swap(record.from, record.to);
  node("a").store->add(record);
  ASSERT_TRUE(open("", {"shop"}));
  EXPECT_THAT(read(), ElementsAre("+a", "a:1", "a:2", "END"));
}

// Only what the client wants; the operator needs the namespaces nevertheless.
TEST_F(FlowClusterReader, GivesTheFieldsThatAreWanted) {
  node("a").add(1, 101);
  for (const auto& namespaces :
       {std::vector<std::string>(), std::vector<std::string>{"shop"}}) {
    ASSERT_TRUE(open("field_mask { paths: 'verdict' paths: 'source.pod_name' }",
                     namespaces));
    exchange();
    GetFlowsResponse response;
    while (!response.has_flow()) {
      ASSERT_EQ(reader_->next(response, now_), ClusterReader::Step::kMessage);
    }
    EXPECT_EQ(response.flow().ShortDebugString(),
              "verdict: DROPPED source { pod_name: \"a\" }");
    EXPECT_EQ(response.node_name(), "a");
  }
  const auto refused = open("field_mask { paths: 'x' }");
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("'x'"));
}

TEST_F(FlowClusterReader, WithoutNodesThereIsNothing) {
  ASSERT_TRUE(open(""));
  EXPECT_THAT(read(), ElementsAre("END"));
  ASSERT_TRUE(open("number: 5"));
  EXPECT_THAT(read(), ElementsAre("END"));
  ASSERT_TRUE(open("follow: true number: 5"));
  EXPECT_THAT(read(), IsEmpty());
  auto& added = node("n");
  added.add(1, 4'000'000'000);
  set("n", NodeState::kConnected);
  auto lines = read();
  now_ += options_.hold;
  std::ranges::copy(read(), std::back_inserter(lines));
  EXPECT_THAT(lines, ElementsAre("+n", "n:1"));
}

}  // namespace
}  // namespace sluice::flow::test
