// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
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

#include "lib/flow/cluster_reader.h"
#include "lib/flow/cursor.h"
#include "lib/flow/store.h"
#include "lib/flow/time.h"

// A ClusterReader and the nodes that it asks.
namespace sluice::flow::test {

inline constexpr std::int64_t kNanoseconds = 1'000'000'000;

// A node's agent: what Responder does, without a thread. Answers when the test
// says so.
struct Node {
  explicit Node(std::string node_name) : name(std::move(node_name)) {}

  // A request that has not ended.
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

  // What the reader sends to the node. Fails the test if it asks for a batch
  // while another one is wanted.
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

  // The next batch of a request from which one is wanted; nullopt if there is
  // nothing to say.
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

  // What the store has for the request now.
  wire::FlowBatch read(std::uint64_t id, Open& open) const {
    wire::FlowBatch batch;
    batch.id = id;
    if (!open.cursor) {
      ::observer::GetFlowsRequest request;
      EXPECT_TRUE(request.ParseFromString(open.request.request));
      auto cursor =
          FlowCursor::open(*store, request, name, open.request.namespaces);
      EXPECT_TRUE(cursor.has_value());
      open.cursor = std::move(*cursor);
    }
    std::size_t bytes = 0;
    while (bytes < open.request.batch_bytes) {
      ::observer::GetFlowsResponse response;
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
  int asked = 0;                  // requests, ever
  mutable std::size_t given = 0;  // flows, ever
  mutable std::size_t given_bytes = 0;
  bool silent = false;  // it does not answer
};

// A line for a flow, "NODE:PORT", for lost flows, "lost COUNT NODE", or for a
// change of nodes: "+a,b", "-a", "gone a", "error a".
inline std::string text_of(const ::observer::GetFlowsResponse& response) {
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
  // Connected, unless it is there already.
  Node& node(const std::string& name) {
    auto& found = nodes_[name];
    if (!found) {
      found = std::make_unique<Node>(name);
      views_[name] = {.state = NodeState::kConnected,
                      .generation = ++generation_};
    }
    return *found;
  }
  // `text`: a GetFlowsRequest.
  Result<void> open(const std::string& text,
                    std::vector<std::string> namespaces = {}) {
    ::observer::GetFlowsRequest request;
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
  // A node comes, goes, or connects anew; the reader is told.
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
      ::observer::GetFlowsResponse response;
      switch (reader_->next(response, now_)) {
        case ClusterReader::Step::kMessage:
          if (response.has_lost_events()) {
            lost_ = response.lost_events();
          }
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
      EXPECT_THAT(node->requests, ::testing::IsEmpty()) << text;
    }
    return all;
  }

  std::map<std::string, std::unique_ptr<Node>> nodes_;
  std::map<std::string, NodeView> views_;
  std::uint64_t generation_ = 0;
  std::uint64_t id_ = 0;
  ClusterReader::Clock::time_point now_ = ClusterReader::Clock::now();
  ClusterReaderOptions options_;
  std::optional<ClusterReader> reader_;
  ::flow::LostEvent lost_;  // the last one that was told
};

}  // namespace sluice::flow::test
