// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/relay.h"

#include <deque>
#include <functional>
#include <utility>

#include <grpcpp/support/status.h>
#include <gtest/gtest.h>

namespace sluice::flow {
namespace {

using Link = Relay::Link;

std::shared_ptr<const wire::FlowRequest> any_request() {
  return std::make_shared<const wire::FlowRequest>(
      wire::FlowRequest{.id = 0, .request = "what", .namespaces = {}});
}

wire::FlowBatch batch_of(std::uint64_t id, bool last = false) {
  return {.id = id,
          .items = {{.time = 1, .message = "a flow"}},
          .last = last,
          .error = {}};
}

// One replica, and what its agents and its clients were told.
struct Replica {
  using Deliver = std::function<bool(Replica&, Link, wire::RelayMessage)>;

  Replica(Deliver deliver, Relay::Options options)
      : relay({.send =
                   [this, deliver = std::move(deliver)](
                       Link link, wire::RelayMessage message) {
                     return deliver(*this, link, std::move(message));
                   },
               .request =
                   [this](const std::string& node, std::uint64_t number,
                          const std::shared_ptr<const wire::FlowRequest>&) {
                     asked.emplace_back(node, number);
                     return !deaf;
                   },
               .control =
                   [this](const std::string& node,
                          const wire::FlowControl& control) {
                     controls.emplace_back(node, control);
                   },
               .on_node =
                   [this](const std::string& node,
                          const std::optional<bool>& gives_flows) {
                     ++told[node];
                     if (gives_flows) {
                       nodes[node] = *gives_flows;
                     } else {
                       nodes.erase(node);
                     }
                   },
               .on_batch =
                   [this](wire::FlowBatch batch) {
                     given.push_back(std::move(batch));
                   },
               .next_id = [this] { return ++id; }},
              options) {}

  // As a client of this replica.
  std::uint64_t ask(const std::string& node) {
    const auto own = ++id;
    EXPECT_TRUE(relay.request(node, own, any_request())) << node;
    return own;
  }
  [[nodiscard]] std::size_t open() const { return relay.counters().forwards; }

  std::uint64_t id = 0;  // the same in all replicas: ids of two may be equal
  bool deaf = false;     // its agents cannot be asked
  std::vector<std::pair<std::string, std::uint64_t>> asked;  // of agents
  std::vector<std::pair<std::string, wire::FlowControl>> controls;
  std::map<std::string, bool> nodes;  // for clients, and what they give
  std::map<std::string, int> told;    // how often
  std::vector<wire::FlowBatch> given;
  Relay relay;
};

// Replicas, and messages that are on their way until run().
class FlowRelayTest : public testing::Test {
 protected:
  using End = std::pair<Replica*, Link>;

  Replica& add(Relay::Options options = {}) {
    return replicas_.emplace_back(
        [this](Replica& from, Link link, wire::RelayMessage message) {
          return send({&from, link}, std::move(message));
        },
        options);
  }
  void connect(Replica& replica, Replica& leader) {
    const End near{&replica, ++links_};
    const End far{&leader, ++links_};
    others_[near] = far;
    others_[far] = near;
    replica.relay.link_opened(near.second, true);
    leader.relay.link_opened(far.second, false);
  }
  // What is on its way is lost.
  void disconnect(Replica& replica, Replica& leader) {
    std::vector<End> ends;
    for (const auto& [from, to] : others_) {
      if ((from.first == &replica && to.first == &leader) ||
          (to.first == &replica && from.first == &leader)) {
        ends.push_back(from);
      }
    }
    for (const auto& end : ends) {
      others_.erase(end);
      std::erase_if(messages_,
                    [&](const auto& item) { return item.first == end; });
    }
    for (const auto& [who, link] : ends) {
      who->relay.link_closed(link);
    }
  }
  void run() {
    for (int steps = 0; !messages_.empty(); ++steps) {
      ASSERT_LT(steps, 10'000) << "it goes round and round";
      auto [to, message] = std::move(messages_.front());
      messages_.pop_front();
      const auto done = to.first->relay.on_message(to.second, message);
      EXPECT_TRUE(done) << done.error().message;
    }
  }
  bool send(const End& from, wire::RelayMessage message) {
    const auto to = others_.find(from);
    if (to == others_.end()) {
      return true;
    }
    const auto* batch = std::get_if<wire::FlowBatch>(&message);
    if (full_ && batch != nullptr && !batch->items.empty()) {
      return false;
    }
    messages_.emplace_back(to->second, std::move(message));
    return true;
  }
  // One leads, the others are connected to it, and each has an agent: "a",
  // "b", "c".
  void three() {
    leader_ = &add();
    one_ = &add();
    two_ = &add();
    connect(*one_, *leader_);
    leader_->relay.agent_connected("a", true);
    one_->relay.agent_connected("b", true);
    two_->relay.agent_connected("c", true);
    connect(*two_, *leader_);
    run();
  }
  [[nodiscard]] std::size_t open() const {
    std::size_t sum = 0;
    for (const auto& replica : replicas_) {
      sum += replica.open();
    }
    return sum;
  }

  using Nodes = std::map<std::string, bool>;
  const Nodes all_{{"a", true}, {"b", true}, {"c", true}};
  std::deque<Replica> replicas_;
  std::map<End, End> others_;
  std::deque<std::pair<End, wire::RelayMessage>> messages_;
  Link links_ = 0;
  bool full_ = false;  // batches are not taken
  Replica* leader_ = nullptr;
  Replica* one_ = nullptr;
  Replica* two_ = nullptr;
};

TEST_F(FlowRelayTest, EachReplicaHasAllNodes) {
  three();
  for (const auto& replica : replicas_) {
    EXPECT_EQ(replica.nodes, all_);
    for (const auto& [node, times] : replica.told) {
      EXPECT_EQ(times, 1) << node;
    }
  }
}

TEST_F(FlowRelayTest, AnAgentThatIsTooOldIsToldButNotAsked) {
  three();
  two_->relay.agent_connected("d", false);
  run();
  EXPECT_EQ(one_->nodes.at("d"), false);
  EXPECT_FALSE(one_->relay.request("d", 77, any_request()));
  EXPECT_FALSE(one_->relay.request("nobody", 78, any_request()));
}

TEST_F(FlowRelayTest, ARequestAndItsBatchesPassTwoLinks) {
  three();
  leader_->id = 100;
  two_->id = 200;
  const auto id = one_->ask("c");
  run();
  ASSERT_EQ(two_->asked.size(), 1U);
  EXPECT_EQ(two_->asked[0], std::pair(std::string("c"), std::uint64_t{201}));

  two_->relay.on_flows("c", batch_of(201));
  run();
  ASSERT_EQ(one_->given.size(), 1U);
  EXPECT_EQ(one_->given[0], batch_of(id));

  one_->relay.control("c", {.id = id, .cancel = false});
  run();
  ASSERT_EQ(two_->controls.size(), 1U);
  EXPECT_EQ(two_->controls[0].second, (wire::FlowControl{.id = 201}));
  two_->relay.on_flows("c", batch_of(201, true));
  run();
  ASSERT_EQ(one_->given.size(), 2U);
  EXPECT_TRUE(one_->given[1].last);
  EXPECT_EQ(open(), 0U);
  EXPECT_TRUE(leader_->given.empty());
}

TEST_F(FlowRelayTest, OwnAgentsAreAskedDirectly) {
  three();
  const auto id = one_->ask("b");
  EXPECT_EQ(one_->asked.back(), std::pair(std::string("b"), id));
  one_->relay.on_flows("b", batch_of(id));
  ASSERT_EQ(one_->given.size(), 1U);
  one_->relay.control("b", {.id = id, .cancel = true});
  EXPECT_EQ(one_->controls.back().second.id, id);
  EXPECT_EQ(open(), 0U);
}

// All three have the same ids.
TEST_F(FlowRelayTest, EqualIdsOfTwoReplicasAreKeptApart) {
  three();
  const auto first = one_->ask("a");
  const auto second = two_->ask("a");
  EXPECT_EQ(first, second);
  run();
  ASSERT_EQ(leader_->asked.size(), 2U);
  const auto own = leader_->ask("a");
  EXPECT_NE(leader_->asked[0].second, leader_->asked[1].second);
  EXPECT_NE(leader_->asked[1].second, own);
  leader_->relay.on_flows("a", batch_of(leader_->asked[1].second));
  leader_->relay.on_flows("a", batch_of(own));
  run();
  EXPECT_EQ(one_->given.size(), 0U);
  EXPECT_EQ(two_->given.size(), 1U);
  EXPECT_EQ(leader_->given.size(), 1U);
}

TEST_F(FlowRelayTest, ACancellationReachesTheAgent) {
  three();
  const auto id = one_->ask("c");
  run();
  one_->relay.control("c", {.id = id, .cancel = true});
  run();
  ASSERT_EQ(two_->controls.size(), 1U);
  EXPECT_EQ(two_->controls[0].second,
            (wire::FlowControl{.id = two_->asked[0].second, .cancel = true}));
  EXPECT_EQ(open(), 0U);
  // What the agent has sent before it knew.
  two_->relay.on_flows("c", batch_of(two_->asked[0].second));
  run();
  EXPECT_TRUE(one_->given.empty());
}

TEST_F(FlowRelayTest, AnAgentThatConnectsAnewVoidsItsRequests) {
  three();
  one_->ask("c");
  run();
  two_->relay.agent_connected("c", true);
  run();
  EXPECT_EQ(one_->told["c"], 2);
  EXPECT_EQ(open(), 0U);
}

// The request and the news of the agent's new connection cross.
TEST_F(FlowRelayTest, ARequestThatCrossesNewsIsCancelled) {
  three();
  one_->ask("c");
  two_->relay.agent_connected("c", true);
  run();
  EXPECT_EQ(open(), 0U);
  ASSERT_EQ(two_->asked.size(), 1U);
  ASSERT_EQ(two_->controls.size(), 1U);
  EXPECT_EQ(two_->controls[0].second.id, two_->asked[0].second);
  EXPECT_TRUE(two_->controls[0].second.cancel);
}

TEST_F(FlowRelayTest, AnAgentThatLeavesEndsItsRequests) {
  three();
  one_->ask("c");
  leader_->ask("c");
  run();
  two_->relay.agent_left("c");
  run();
  EXPECT_EQ(open(), 0U);
  for (const auto& replica : replicas_) {
    EXPECT_FALSE(replica.nodes.contains("c"));
  }
}

// It connects to another replica before the one before has noticed.
TEST_F(FlowRelayTest, ANodeMovesBetweenReplicas) {
  three();
  leader_->ask("c");
  run();
  one_->relay.agent_connected("c", true);
  run();
  EXPECT_EQ(leader_->told["c"], 2);
  EXPECT_EQ(one_->told["c"], 2);
  EXPECT_EQ(open(), 0U);
  ASSERT_EQ(two_->controls.size(), 1U) << "nobody reads this one any more";
  EXPECT_TRUE(two_->controls[0].second.cancel);
  leader_->ask("c");
  run();
  EXPECT_EQ(one_->asked.back().first, "c");

  two_->relay.agent_left("c");
  run();
  EXPECT_EQ(two_->nodes, all_);
  EXPECT_EQ(leader_->told["c"], 2) << "nothing has changed for it";
  EXPECT_EQ(open(), 2U);
  two_->ask("c");
  run();
  EXPECT_EQ(one_->asked.size(), 2U);
}

TEST_F(FlowRelayTest, AnOwnAgentTakesPrecedence) {
  three();
  const auto id = one_->ask("c");
  run();
  one_->relay.agent_connected("c", true);
  one_->relay.agent_connected("c", true);
  run();
  one_->relay.control("c", {.id = id, .cancel = true});
  EXPECT_EQ(open(), 0U);
  one_->ask("c");
  EXPECT_EQ(one_->asked.size(), 1U);
  two_->relay.agent_connected("c", true);
  run();
  one_->ask("c");
  EXPECT_EQ(one_->asked.size(), 2U) << "still its own, whoever speaks last";
  one_->relay.agent_left("c");
  run();
  EXPECT_EQ(one_->nodes, all_);
  one_->ask("c");
  run();
  EXPECT_EQ(one_->asked.size(), 2U);
  EXPECT_EQ(two_->asked.size(), 2U);
}

TEST_F(FlowRelayTest, AReplicaGoes) {
  three();
  one_->ask("c");
  two_->ask("a");
  two_->ask("b");
  run();
  EXPECT_NE(open(), 0U);
  disconnect(*two_, *leader_);
  run();
  EXPECT_EQ(open(), 0U);
  const Nodes left{{"a", true}, {"b", true}};
  EXPECT_EQ(leader_->nodes, left);
  EXPECT_EQ(one_->nodes, left);
  EXPECT_EQ(two_->nodes, (Nodes{{"c", true}}));
  for (auto* replica : {leader_, one_, two_}) {
    ASSERT_EQ(replica->controls.size(), 1U);
    EXPECT_TRUE(replica->controls[0].second.cancel);
    EXPECT_EQ(replica->controls[0].second.id, replica->asked[0].second);
  }
  connect(*two_, *leader_);
  run();
  for (const auto& replica : replicas_) {
    EXPECT_EQ(replica.nodes, all_);
  }
}

TEST_F(FlowRelayTest, AnotherReplicaLeads) {
  three();
  one_->ask("c");
  run();
  disconnect(*one_, *leader_);
  disconnect(*two_, *leader_);
  connect(*leader_, *two_);
  run();
  EXPECT_EQ(one_->nodes, (Nodes{{"b", true}}));
  connect(*one_, *two_);
  run();
  for (const auto& replica : replicas_) {
    EXPECT_EQ(replica.nodes, all_);
  }
  EXPECT_EQ(open(), 0U);
  const auto id = one_->ask("a");
  run();
  leader_->relay.on_flows("a", batch_of(leader_->asked[0].second));
  run();
  ASSERT_EQ(one_->given.size(), 1U);
  EXPECT_EQ(one_->given[0].id, id);
}

// While the Lease changes hands.
TEST_F(FlowRelayTest, TwoThatTakeEachOtherForTheLeaderDoNotLoop) {
  three();
  connect(*leader_, *one_);
  run();
  one_->relay.agent_connected("b", true);
  leader_->relay.agent_connected("a", true);
  leader_->ask("b");
  one_->ask("a");
  run();
  EXPECT_EQ(one_->asked.size(), 1U);
  EXPECT_EQ(leader_->asked.size(), 1U);
  one_->relay.agent_left("b");
  run();
  EXPECT_FALSE(leader_->nodes.contains("b"));
  EXPECT_FALSE(one_->nodes.contains("b"));
  EXPECT_FALSE(two_->nodes.contains("b"));
}

TEST_F(FlowRelayTest, WhatCannotBeAskedIsRefused) {
  three();
  two_->deaf = true;
  const auto id = one_->ask("c");
  run();
  ASSERT_EQ(one_->given.size(), 1U);
  EXPECT_EQ(one_->given[0].id, id);
  EXPECT_TRUE(one_->given[0].last);
  EXPECT_EQ(one_->given[0].code, grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(open(), 0U);
}

TEST_F(FlowRelayTest, OthersAnswerNothing) {
  three();
  one_->ask("c");
  run();
  const auto id = two_->asked[0].second;
  two_->relay.agent_connected("d", true);
  run();
  two_->relay.on_flows("d", batch_of(id));
  run();
  EXPECT_TRUE(one_->given.empty());
  EXPECT_TRUE(two_->given.empty());
  // Of what was asked of another node, by another link.
  leader_->relay.on_flows("a", batch_of(leader_->id));
  one_->relay.on_flows("b", batch_of(one_->id));
  run();
  EXPECT_TRUE(one_->given.empty());
  two_->relay.on_flows("c", batch_of(id));
  run();
  EXPECT_EQ(one_->given.size(), 1U);
}

TEST_F(FlowRelayTest, WhatNobodyAskedForDoesNotFillTheLink) {
  three();
  one_->ask("c");
  run();
  const auto id = two_->asked[0].second;
  for (int i = 0; i < 10; ++i) {
    two_->relay.on_flows("c", batch_of(id));
  }
  EXPECT_EQ(messages_.size(), 1U);
  run();
  EXPECT_EQ(one_->given.size(), 1U);
  two_->relay.on_flows("c", batch_of(id, true));
  run();
  ASSERT_EQ(one_->given.size(), 2U);
  EXPECT_TRUE(one_->given[1].items.empty());
  EXPECT_EQ(open(), 0U);
}

TEST_F(FlowRelayTest, ALinkWithoutRoomEndsTheRequest) {
  three();
  one_->ask("c");
  run();
  full_ = true;
  two_->relay.on_flows("c", batch_of(two_->asked[0].second));
  run();
  ASSERT_EQ(one_->given.size(), 1U);
  EXPECT_EQ(one_->given[0].code, grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(one_->given[0].last);
  ASSERT_EQ(two_->controls.size(), 1U);
  EXPECT_TRUE(two_->controls[0].second.cancel);
  EXPECT_EQ(open(), 0U);
  EXPECT_EQ(one_->nodes, all_);
}

TEST_F(FlowRelayTest, RequestsAndNodesAreBounded) {
  auto& leader = add({.nodes_max = 3, .requests_max = 2});
  auto& other = add();
  connect(other, leader);
  leader.relay.agent_connected("a", true);
  run();
  for (int i = 0; i < 3; ++i) {
    other.ask("a");
  }
  run();
  EXPECT_EQ(leader.asked.size(), 2U);
  ASSERT_EQ(other.given.size(), 1U);
  EXPECT_EQ(other.given[0].code, grpc::StatusCode::RESOURCE_EXHAUSTED);

  std::vector<wire::RelayNode> nodes;
  for (const std::string name : {"n1", "n2", "n3", "n2"}) {
    nodes.push_back({.node = name, .connected = true, .gives_flows = true});
  }
  const auto link = others_.begin()->second.first == &leader
                        ? others_.begin()->second.second
                        : others_.begin()->first.second;
  EXPECT_TRUE(leader.relay.on_message(link, nodes));
  nodes.push_back({.node = "n4", .connected = true, .gives_flows = true});
  EXPECT_FALSE(leader.relay.on_message(link, nodes));
}

// Each message is bounded, too.
TEST_F(FlowRelayTest, ManyNodesAreToldInParts) {
  auto& leader = add();
  auto& other = add();
  constexpr std::size_t kNodes = 1'234;
  for (std::size_t i = 0; i < kNodes; ++i) {
    other.relay.agent_connected("n" + std::to_string(i), true);
  }
  connect(other, leader);
  EXPECT_EQ(messages_.size(), 3U);
  for (const auto& [to, message] : messages_) {
    EXPECT_LE(std::get<std::vector<wire::RelayNode>>(message).size(),
              wire::kRelayNodesMax);
  }
  run();
  EXPECT_EQ(leader.nodes.size(), kNodes);
}

}  // namespace
}  // namespace sluice::flow
