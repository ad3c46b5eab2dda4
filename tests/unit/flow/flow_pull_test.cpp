// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/flow_pull.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cluster_observer_fixture.h"
#include "lib/flow/cluster.h"

namespace sluice::flow {
namespace {

using Step = ClusterReader::Step;

// A cluster with one node, which has nothing to say until give().
class FlowFlowPull : public testing::Test {
 protected:
  FlowFlowPull() { cluster_.set_node("a", NodeState::kConnected); }

  std::shared_ptr<FlowPull> open(
      const std::string& token,
      const ::observer::GetFlowsRequest& request = {}) {
    auto pull =
        FlowPull::open(cluster_, &gate_, token, request.SerializeAsString());
    cluster_.turn();
    return pull;
  }
  static ::observer::GetFlowsRequest following() {
    ::observer::GetFlowsRequest request;
    request.set_follow(true);
    request.mutable_since()->set_seconds(1);
    return request;
  }
  void give(const std::string& uuid, bool last = false) {
    ::observer::GetFlowsResponse response;
    response.mutable_flow()->set_uuid(uuid);
    response.mutable_flow()->mutable_source()->set_namespace_("shop");
    response.mutable_time()->set_seconds(2);
    ASSERT_FALSE(ids_.empty());
    cluster_.on_batch({.id = ids_.back(),
                       .items = {{.time = 2'000'000'000,
                                  .message = response.SerializeAsString()}},
                       .caught_up = true,
                       .last = last});
  }
  // The next flow's uuid.
  static std::string fetch(FlowPull& pull) {
    ::observer::GetFlowsResponse response;
    while (!response.has_flow() && pull.fetch(response) != Step::kEnd) {
      pull.turn(FlowPull::Clock::now());
    }
    return response.flow().uuid();
  }

  test::FakeGate gate_;
  std::vector<std::uint64_t> ids_;
  int cancels_ = 0;
  Cluster cluster_{
      {.version = "1",
       .user_calls_max = 2,
       .check_right_every = std::chrono::milliseconds(0)},
      {.request =
           [this](const std::string&, std::uint64_t id, const auto&) {
             ids_.push_back(id);
             return true;
           },
       .control =
           [this](const std::string&, const wire::FlowControl& control) {
             cancels_ += control.cancel ? 1 : 0;
           },
       .wake = [] {}}};
};

TEST_F(FlowFlowPull, gives_flows_one_by_one_to_a_client_that_may_read_them) {
  const auto pull = open("all", following());
  ASSERT_TRUE(pull->status());
  EXPECT_TRUE(pull->status()->ok());
  ::observer::GetFlowsResponse response;
  while (pull->fetch(response) == Step::kMessage) {
    EXPECT_TRUE(response.has_node_status());
  }
  give("one");
  EXPECT_EQ(fetch(*pull), "one");
}

TEST_F(FlowFlowPull, asks_no_node_for_a_client_that_may_not) {
  for (const auto& [token, code] :
       {std::pair{"nobody", grpc::StatusCode::UNAUTHENTICATED},
        std::pair{"shop", grpc::StatusCode::PERMISSION_DENIED}}) {
    const auto pull = open(token, following());
    ASSERT_TRUE(pull->status());
    EXPECT_EQ(pull->status()->error_code(), code);
    ::observer::GetFlowsResponse response;
    EXPECT_EQ(pull->fetch(response), Step::kEnd);
  }
  EXPECT_TRUE(ids_.empty());
}

TEST_F(FlowFlowPull, knows_nothing_before_the_gate_has_decided) {
  const auto pull = open("later", following());
  EXPECT_FALSE(pull->status());
  ::observer::GetFlowsResponse response;
  EXPECT_EQ(pull->fetch(response), Step::kWait);
  Admission admission;
  admission.user = "somebody";
  admission.everything = true;
  gate_.waiting.back()(admission);
  ASSERT_TRUE(pull->status());
  EXPECT_TRUE(pull->status()->ok());
}

TEST_F(FlowFlowPull, ends_when_the_right_is_revoked) {
  const auto pull = open("all", following());
  gate_.revoked = true;
  cluster_.turn();
  ASSERT_TRUE(pull->status());
  EXPECT_EQ(pull->status()->error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(FlowFlowPull, refuses_what_is_no_request_and_what_is_too_large) {
  for (const auto& bytes : {std::string("\x08"), std::string(40'000, '\0')}) {
    const auto pull = FlowPull::open(cluster_, &gate_, "all", bytes);
    ASSERT_TRUE(pull->status());
    EXPECT_EQ(pull->status()->error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
}

TEST_F(FlowFlowPull, without_an_owner_it_is_over) {
  auto first = open("all", following());
  const auto second = open("all", following());
  EXPECT_EQ(open("all", following())->status()->error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(cluster_.counters().calls, 2);
  first.reset();
  cluster_.turn();
  EXPECT_EQ(cancels_, 1);
  EXPECT_EQ(cluster_.counters().calls, 1);
  EXPECT_TRUE(open("all", following())->status()->ok());
}

}  // namespace
}  // namespace sluice::flow
