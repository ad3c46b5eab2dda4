// SPDX-License-Identifier: Apache-2.0
#include "agent/program/status_requests.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace sluice::agentd {
namespace {

using nlohmann::json;
using testing::SizeIs;

class AgentStatusRequests : public testing::Test {
 protected:
  bool take(const std::string& request, std::uint64_t id = 1,
            wire::FlowKind kind = wire::FlowKind::kStatus) {
    return requests_.take(
        {.id = id, .kind = kind, .request = request, .batch_bytes = 1});
  }

  json view_ = json::object();
  std::vector<std::string> asked_;
  std::vector<wire::FlowBatch> sent_;
  StatusRequests requests_{
      [this](const std::string& request) {
        asked_.push_back(request);
        return node::Server::Answer{
            .reply = node::reply_line(json{{"view", view_}}.dump() +
                                      "\n{\"end\":true}"),
            .drops_only = false};
      },
      [this](wire::FlowBatch batch) { sent_.push_back(std::move(batch)); }};
};

TEST_F(AgentStatusRequests, the_status_is_one_item) {
  view_ = {{"node", "n"}, {"enforced", true}};
  EXPECT_TRUE(take(R"({"command":"status"})", 7));
  ASSERT_THAT(sent_, SizeIs(1));
  EXPECT_EQ(sent_[0].id, 7);
  EXPECT_TRUE(sent_[0].last);
  EXPECT_EQ(sent_[0].code, 0);
  ASSERT_THAT(sent_[0].items, SizeIs(1));
  EXPECT_EQ(json::parse(sent_[0].items[0].message), view_);
}

TEST_F(AgentStatusRequests, many_endpoints_come_in_batches_that_are_asked_for) {
  for (int i = 0; i < 300; ++i) {
    view_["endpoints"].push_back({{"name", std::string(1'000, 'x')}});
  }
  EXPECT_TRUE(take(R"({"command":"endpoint list"})"));
  std::size_t items = sent_.at(0).items.size();
  EXPECT_LT(items, 100);
  while (!sent_.back().last) {
    const auto before = sent_.size();
    EXPECT_TRUE(requests_.control({.id = 1}));
    ASSERT_EQ(sent_.size(), before + 1);
    items += sent_.back().items.size();
  }
  EXPECT_EQ(items, 300);
  EXPECT_FALSE(requests_.control({.id = 1}));
  EXPECT_THAT(asked_, SizeIs(1));
}

TEST_F(AgentStatusRequests, a_node_without_pods_answers) {
  EXPECT_TRUE(take(R"({"command":"endpoint list"})"));
  ASSERT_THAT(sent_, SizeIs(1));
  EXPECT_TRUE(sent_[0].last);
  EXPECT_TRUE(sent_[0].items.empty());
}

TEST_F(AgentStatusRequests, other_requests_are_others) {
  EXPECT_FALSE(take(""));
  EXPECT_FALSE(take("x", 1, wire::FlowKind::kFlows));
  EXPECT_FALSE(requests_.control({.id = 1}));
  EXPECT_TRUE(sent_.empty());
}

// The operator may ask for no more than what is listed.
TEST_F(AgentStatusRequests, what_is_not_known_is_refused) {
  for (const char* request : {R"({"command":"conntrack list"})",
                              R"({"command":7})", "[]", "{", "x"}) {
    EXPECT_TRUE(take(request));
    EXPECT_TRUE(sent_.back().last);
    EXPECT_EQ(sent_.back().code, 3);
  }
  EXPECT_TRUE(asked_.empty());
}

TEST_F(AgentStatusRequests, cancelling_forgets_the_rest) {
  for (int i = 0; i < 300; ++i) {
    view_["endpoints"].push_back({{"name", std::string(1'000, 'x')}});
  }
  take(R"({"command":"endpoint list"})");
  EXPECT_TRUE(requests_.control({.id = 1, .cancel = true}));
  EXPECT_FALSE(requests_.control({.id = 1}));
  take(R"({"command":"endpoint list"})");
  requests_.cancel_all();
  EXPECT_FALSE(requests_.control({.id = 1}));
}

}  // namespace
}  // namespace sluice::agentd
