// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster_reader.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "lib/flow/cursor.h"
#include "lib/flow/store.h"
#include "lib/flow/time.h"

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;
using ::observer::GetFlowsRequest;
using ::observer::GetFlowsResponse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Clock = ClusterReader::Clock;

constexpr std::int64_t kNanoseconds = 1'000'000'000;

// A node's agent: what Responder does, without a thread. Answers when the test
// says so.
struct Node {
  explicit Node(std::string node_name) : name(std::move(node_name)) {}

  struct Open {
    wire::FlowRequest request;
    std::optional<FlowCursor> cursor;
    int wanted = 1;
    bool caught_up = false;
  };

  // A flow to the port, at that second.
  void add(std::uint16_t port, std::int64_t second,
           const std::string& ns = "shop") const {
    Record record;
    record.time = second * kNanoseconds;
    record.ip = true;
    record.protocol = IPPROTO_TCP;
    record.destination_port = port;
    record.allowed = port % 2 == 0;
    record.from = std::make_shared<const End>(End{.ns = ns, .pod = "a"});
    record.to = record.from;
    record.decision = std::make_shared<const Decision>();
    store->add(record);
  }

  void take(const NodeCommand& command) {
    if (command.request) {
      auto& open = requests[command.id];
      open.request = *command.request;
      ++asked;
      return;
    }
    if (command.cancel) {
      requests.erase(command.id);
      return;
    }
    ASSERT_TRUE(requests.contains(command.id)) << name;
    ++requests[command.id].wanted;
    ASSERT_EQ(requests[command.id].wanted, 1) << "asked for more than one";
  }

  // The next batch of a request from which one is wanted.
  std::optional<wire::FlowBatch> give() {
    for (auto& [id, open] : requests) {
      if (open.wanted == 0) {
        continue;
      }
      auto batch = read(id, open);
      if (!batch.items.empty() || batch.caught_up || batch.last ||
          batch.lost > 0) {
        --open.wanted;
        if (batch.last) {
          requests.erase(id);
        }
        return batch;
      }
    }
    return std::nullopt;
  }

  wire::FlowBatch read(std::uint64_t id, Open& open) const {
    wire::FlowBatch batch;
    batch.id = id;
    if (!open.cursor) {
      GetFlowsRequest request;
      EXPECT_TRUE(request.ParseFromString(open.request.request));
      auto cursor =
          FlowCursor::open(*store, request, name, open.request.namespaces);
      EXPECT_TRUE(cursor.has_value());
      open.cursor = std::move(*cursor);
    }
    std::size_t bytes = 0;
    while (bytes < open.request.batch_bytes) {
      GetFlowsResponse response;
      const auto step = open.cursor->next(response);
      if (step == FlowCursor::Step::kBusy) {
        continue;
      }
      if (step == FlowCursor::Step::kEnd) {
        batch.last = true;
        break;
      }
      if (step == FlowCursor::Step::kWait) {
        batch.caught_up = !std::exchange(open.caught_up, true);
        break;
      }
      if (response.has_lost_events()) {
        batch.lost += response.lost_events().num_events_lost();
        continue;
      }
      batch.items.push_back({.time = nanoseconds(response.time()),
                             .message = response.SerializeAsString()});
      bytes += batch.items.back().message.size();
      given_bytes += batch.items.back().message.size();
      ++given;
    }
    return batch;
  }

  std::string name;
  std::unique_ptr<Store> store = std::make_unique<Store>(100, 1);
  std::map<std::uint64_t, Open> requests;
  int asked = 0;
  mutable std::size_t given = 0;
  mutable std::size_t given_bytes = 0;
  bool silent = false;
};

std::string text_of(const GetFlowsResponse& response) {
  if (response.has_lost_events()) {
    return "lost " + std::to_string(response.lost_events().num_events_lost()) +
           " " + response.node_name();
  }
  if (response.has_node_status()) {
    const auto& status = response.node_status();
    std::string text;
    switch (status.state_change()) {
      case ::relay::NODE_CONNECTED:
        text = "+";
        break;
      case ::relay::NODE_UNAVAILABLE:
        text = "-";
        break;
      case ::relay::NODE_GONE:
        text = "gone ";
        break;
      default:
        text = "error ";
    }
    for (const auto& name : status.node_names()) {
      text += (text.size() > 1 && text.back() != ' ' ? "," : "") + name;
    }
    return text;
  }
  EXPECT_EQ(response.node_name(), response.flow().node_name());
  return response.node_name() + ":" +
         std::to_string(response.flow().l4().tcp().destination_port());
}

// Nodes, and a reader of them.
class FlowClusterReader : public ::testing::Test {
 protected:
  Node& node(const std::string& name) {
    auto& found = nodes_[name];
    if (!found) {
      found = std::make_unique<Node>(name);
      views_[name] = {.state = NodeState::kConnected,
                      .generation = ++generation_};
    }
    return *found;
  }
  Result<void> open(const std::string& text,
                    std::vector<std::string> namespaces = {}) {
    GetFlowsRequest request;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request));
    auto opened = ClusterReader::open(
        {.flows = request, .namespaces = std::move(namespaces)}, views_,
        [this] { return ++id_; }, options_, now_);
    if (!opened) {
      return std::unexpected(opened.error());
    }
    reader_.emplace(std::move(*opened));
    return {};
  }
  void set(const std::string& name, NodeState state) {
    views_[name] = {.state = state, .generation = ++generation_};
    if (state != NodeState::kConnected && nodes_.contains(name)) {
      nodes_[name]->requests.clear();
    }
    if (reader_) {
      reader_->on_node(name, views_[name], now_);
    }
  }
  // Passes commands on, and what nodes answer back, until nobody has more.
  void exchange() {
    bool more = true;
    while (more) {
      more = false;
      for (const auto& command : reader_->take_commands()) {
        if (nodes_.contains(command.node)) {
          nodes_[command.node]->take(command);
        }
        more = true;
      }
      for (const auto& [name, node] : nodes_) {
        if (node->silent) {
          continue;
        }
        if (auto batch = node->give()) {
          reader_->on_batch(std::move(*batch), now_);
          more = true;
        }
      }
    }
  }
  // All that the client gets until it has to wait; "END" at the end.
  std::vector<std::string> read() {
    std::vector<std::string> result;
    while (true) {
      exchange();
      GetFlowsResponse response;
      switch (reader_->next(response, now_)) {
        case ClusterReader::Step::kMessage:
          result.push_back(text_of(response));
          continue;
        case ClusterReader::Step::kEnd:
          exchange();
          result.emplace_back("END");
          return result;
        case ClusterReader::Step::kWait:
          break;
      }
      const auto commands = reader_->take_commands();
      for (const auto& command : commands) {
        nodes_[command.node]->take(command);
      }
      if (commands.empty()) {
        return result;
      }
    }
  }
  // The same, without what is said of nodes.
  std::vector<std::string> flows(const std::string& text) {
    EXPECT_TRUE(open(text).has_value()) << text;
    auto all = read();
    std::erase_if(all, [](const std::string& line) {
      return line[0] == '+' || line[0] == '-';
    });
    EXPECT_TRUE(!all.empty() && all.back() == "END") << text;
    if (!all.empty()) {
      all.pop_back();
    }
    for (const auto& [name, node] : nodes_) {
      EXPECT_THAT(node->requests, IsEmpty()) << text;
    }
    return all;
  }

  std::map<std::string, std::unique_ptr<Node>> nodes_;
  std::map<std::string, NodeView> views_;
  std::uint64_t generation_ = 0;
  std::uint64_t id_ = 0;
  Clock::time_point now_ = Clock::now();
  ClusterReaderOptions options_;
  std::optional<ClusterReader> reader_;
};

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

// A node that connects anew before the request has been sent gets the request
// on its new connection.
TEST_F(FlowClusterReader, WhatAnEarlierConnectionWasAskedForIsCancelled) {
  node("a");
  ASSERT_TRUE(open("follow: true"));
  set("a", NodeState::kConnected);
  EXPECT_THAT(read(), ElementsAre("+a"));
  EXPECT_THAT(node("a").requests, SizeIs(1));
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

// Flows that a node gives again count once.
TEST(FlowNewest, FlowsThatComeAgainAreNotLost) {
  auto newest = Newest(100, 1'000);
  for (std::uint64_t number = 0; number < 8; ++number) {
    newest.add({.time = 1, .node = 0, .number = number, .message = {}});
  }
  newest.remove(0);
  for (std::uint64_t number = 0; number < 20; ++number) {
    newest.add({.time = 1,
                .node = 0,
                .number = number,
                .message = std::string(200, 'x')});
  }
  EXPECT_EQ(newest.cut() + newest.take().size(), 20U);
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
}  // namespace sluice::flow
