// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/node_query.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/flow/cluster.h"

namespace sluice::flow {
namespace {

using testing::ElementsAre;
using testing::Key;
using testing::Pair;
using testing::UnorderedElementsAre;

// Nodes a and b are connected, c is not. What is sent is kept.
class FlowNodeQuery : public testing::Test {
 protected:
  struct Sent {
    std::string node;
    std::uint64_t id = 0;
    std::string request;
  };

  FlowNodeQuery() {
    cluster_.set_node("a", NodeState::kConnected);
    cluster_.set_node("b", NodeState::kConnected);
    cluster_.set_node("c", NodeState::kAway);
  }
  void TearDown() override { query_->close(); }

  void ask(Gate* gate = nullptr, Places places = Places::kReaders) {
    query_ = NodeQuery::create(
        cluster_, wire::FlowKind::kStatus, "question",
        [this](const grpc::Status& status, const auto& answers) {
          EXPECT_FALSE(status_) << "twice";
          status_ = status;
          answers_ = *answers;
        },
        places);
    query_->start(gate, "token");
    cluster_.turn();
  }
  void answer(const std::string& node, std::vector<std::string> messages,
              bool last = true, std::uint32_t code = 0,
              const std::string& error = {}) {
    for (const auto& sent : sent_) {
      if (sent.node == node) {
        wire::FlowBatch batch{
            .id = sent.id, .items = {}, .last = last, .code = code};
        batch.error = error;
        for (auto& message : messages) {
          batch.items.push_back({.time = 0, .message = std::move(message)});
        }
        cluster_.on_batch(std::move(batch));
        cluster_.turn();
        return;
      }
    }
    FAIL() << node << " was not asked";
  }

  std::vector<Sent> sent_;
  std::vector<wire::FlowControl> controls_;
  Cluster cluster_{
      {.version = "1", .patience = std::chrono::hours(1)},
      {.request =
           [this](const std::string& node, std::uint64_t id,
                  const std::shared_ptr<const wire::FlowRequest>& request) {
             sent_.push_back(
                 {.node = node, .id = id, .request = request->request});
             return node != "lost";
           },
       .control =
           [this](const std::string&, const wire::FlowControl& control) {
             controls_.push_back(control);
           },
       .wake = [] {}}};
  std::shared_ptr<NodeQuery> query_;
  std::optional<grpc::Status> status_;
  NodeQuery::Answers answers_;
};

TEST_F(FlowNodeQuery, ends_when_all_that_can_be_asked_have_answered) {
  ask();
  ASSERT_EQ(sent_.size(), 2);
  EXPECT_EQ(sent_[0].request, "question");
  answer("b", {"1", "2"});
  EXPECT_FALSE(status_);
  answer("a", {});
  ASSERT_TRUE(status_);
  EXPECT_TRUE(status_->ok());
  EXPECT_THAT(answers_.messages,
              UnorderedElementsAre(Pair("a", ElementsAre()),
                                   Pair("b", ElementsAre("1", "2"))));
  EXPECT_EQ(answers_.nodes.at("c").state, NodeState::kAway);
}

TEST_F(FlowNodeQuery, fetches_an_answer_of_several_batches) {
  ask();
  answer("a", {});
  answer("b", {"1"}, false);
  ASSERT_EQ(controls_.size(), 1);
  EXPECT_FALSE(controls_[0].cancel);
  EXPECT_FALSE(status_);
  answer("b", {"2"});
  ASSERT_TRUE(status_);
  EXPECT_THAT(answers_.messages["b"], ElementsAre("1", "2"));
}

TEST_F(FlowNodeQuery, leaves_out_who_fails_goes_or_says_too_much) {
  cluster_.set_node("lost", NodeState::kConnected);
  cluster_.set_node("large", NodeState::kConnected);
  ask();
  answer("a", {"half"}, true, 3, "no time");
  answer("large", std::vector<std::string>(5, std::string(1 << 20, 'x')),
         false);
  ASSERT_EQ(controls_.size(), 1);
  EXPECT_TRUE(controls_[0].cancel);
  EXPECT_FALSE(status_);
  cluster_.set_node("b", NodeState::kAway);
  ASSERT_TRUE(status_);
  EXPECT_TRUE(status_->ok());
  EXPECT_TRUE(answers_.messages.empty());
  using Failure = NodeQuery::Failure;
  EXPECT_THAT(answers_.failures,
              UnorderedElementsAre(
                  Pair("a", Failure{Failure::Kind::kRefused, "no time"}),
                  Pair("b", Failure{Failure::Kind::kGone, ""}),
                  Pair("large", Failure{Failure::Kind::kTooLarge, ""}),
                  Pair("lost", Failure{Failure::Kind::kGone, ""})));
  EXPECT_THAT(answers_.nodes, UnorderedElementsAre(Key("a"), Key("b"), Key("c"),
                                                   Key("large"), Key("lost")));
}

TEST_F(FlowNodeQuery, waits_no_longer_than_it_has_patience) {
  ask();
  answer("a", {"1"});
  answer("b", {"half"}, false);
  const auto patience = cluster_.options().patience;
  query_->turn(Cluster::Clock::now() + patience - std::chrono::minutes(1));
  EXPECT_FALSE(status_);
  query_->turn(Cluster::Clock::now() + patience);
  ASSERT_TRUE(status_);
  EXPECT_TRUE(status_->ok());
  EXPECT_THAT(answers_.messages, UnorderedElementsAre(Key("a")));
  cluster_.turn();
  ASSERT_FALSE(controls_.empty());
  EXPECT_TRUE(controls_.back().cancel);
}

TEST_F(FlowNodeQuery, cancelling_ends_it_once) {
  ask();
  query_->cancel();
  ASSERT_TRUE(status_);
  EXPECT_EQ(status_->error_code(), grpc::StatusCode::CANCELLED);
  query_->cancel();
  answer("a", {"late"});
}

TEST_F(FlowNodeQuery, an_answer_to_what_was_not_asked_is_not_taken) {
  ask();
  cluster_.on_batch({.id = sent_[0].id + 1,
                     .items = {{.time = 0, .message = "forged"}},
                     .last = true});
  EXPECT_FALSE(status_);
  answer("a", {"1"});
  answer("a", {"again"});
  EXPECT_FALSE(status_) << "nobody answers twice";
  answer("b", {"2"});
  ASSERT_TRUE(status_);
  EXPECT_THAT(answers_.messages,
              UnorderedElementsAre(Pair("a", ElementsAre("1")),
                                   Pair("b", ElementsAre("2"))));
}

TEST_F(FlowNodeQuery, what_comes_after_the_end_changes_no_answers) {
  std::shared_ptr<const NodeQuery::Answers> given;
  query_ = NodeQuery::create(
      cluster_, wire::FlowKind::kStatus, "question",
      [&](const grpc::Status&, const auto& answers) { given = answers; });
  query_->start(nullptr, {});
  cluster_.turn();
  answer("a", {"1"});
  answer("b", {"2"});
  ASSERT_TRUE(given);
  cluster_.set_node("a", NodeState::kAway);
  answer("b", {"late"});
  EXPECT_EQ(given->nodes.at("a").state, NodeState::kConnected);
  EXPECT_THAT(given->messages.at("b"), ElementsAre("2"));
}

// Readers of flows, as many as the cluster has places for.
TEST_F(FlowNodeQuery,
       questions_and_readers_of_flows_take_each_others_no_place) {
  const auto& options = cluster_.options();
  for (std::size_t i = 0; i < options.calls_max; ++i) {
    ASSERT_TRUE(cluster_.enter("user" + std::to_string(i), Places::kReaders));
  }
  ask();
  ASSERT_TRUE(status_);
  EXPECT_EQ(status_->error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  query_->close();
  status_.reset();
  ask(nullptr, Places::kQuestions);
  EXPECT_FALSE(status_) << "it waits for answers";
  query_->cancel();
  query_->close();
  status_.reset();
  for (std::size_t i = 0; i < options.calls_max; ++i) {
    cluster_.leave("user" + std::to_string(i), Places::kReaders);
  }
  for (std::size_t i = 0; i < options.questions_max; ++i) {
    ASSERT_TRUE(cluster_.enter("root", Places::kQuestions));
  }
  ask(nullptr, Places::kQuestions);
  ASSERT_TRUE(status_);
  EXPECT_EQ(status_->error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(cluster_.enter("reader", Places::kReaders));
}

TEST_F(FlowNodeQuery, a_cluster_without_nodes_answers_at_once) {
  for (const char* node : {"a", "b", "c"}) {
    cluster_.set_node(node, NodeState::kGone);
  }
  ask();
  ASSERT_TRUE(status_);
  EXPECT_TRUE(status_->ok());
  EXPECT_TRUE(answers_.nodes.empty());
}

}  // namespace
}  // namespace sluice::flow
