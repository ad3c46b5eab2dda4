// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/responder.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "lib/flow/figures.h"
#include "observer.pb.h"
#include "tests/unit/flow/many_records.h"

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// An operator, which gets what the agent gives.
class FlowResponder : public ::testing::Test {
 protected:
  void add(std::uint16_t port, const std::string& ns = "shop") {
    Record record;
    record.time = port * std::int64_t{1'000'000'000};
    record.ip = true;
    record.protocol = IPPROTO_TCP;
    record.destination_port = port;
    record.allowed = true;
    record.from = std::make_shared<const End>(End{.ns = ns});
    record.to = record.from;
    record.decision = std::make_shared<const Decision>();
    store_.add(record);
  }
  void ask(std::uint64_t id, const std::string& text,
           std::uint32_t batch_bytes = 60'000,
           std::vector<std::string> namespaces = {}) {
    ::observer::GetFlowsRequest request;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request));
    responder_->request({.id = id,
                         .kind = wire::FlowKind::kFlows,
                         .request = request.SerializeAsString(),
                         .batch_bytes = batch_bytes,
                         .namespaces = std::move(namespaces)});
  }
  void ask_for(std::uint64_t id, wire::FlowKind kind) {
    wire::FlowRequest request;
    request.id = id;
    request.kind = kind;
    request.batch_bytes = 60'000;
    responder_->request(request);
  }
  wire::FlowBatch next() {
    std::unique_lock lock(mutex_);
    if (!came_.wait_for(lock, 60s, [&] { return !batches_.empty(); })) {
      ADD_FAILURE() << "no batch";
      return {};
    }
    auto batch = std::move(batches_.front());
    batches_.pop_front();
    return batch;
  }
  static std::vector<int> ports(const wire::FlowBatch& batch) {
    std::vector<int> result;
    for (const auto& item : batch.items) {
      ::observer::GetFlowsResponse response;
      EXPECT_TRUE(response.ParseFromString(item.message));
      EXPECT_EQ(response.node_name(), "node1");
      EXPECT_EQ(item.time, response.flow().time().seconds() * 1'000'000'000);
      result.push_back(
          static_cast<int>(response.flow().l4().tcp().destination_port()));
    }
    return result;
  }

  Store store_{100, 1};
  std::mutex mutex_;
  std::condition_variable came_;
  std::deque<wire::FlowBatch> batches_;
  std::optional<Responder> responder_{
      std::in_place, store_,
      ResponderOptions{.node = "node1", .version = "1", .requests_max = 3},
      [this](wire::FlowBatch batch) {
        const std::scoped_lock lock(mutex_);
        batches_.push_back(std::move(batch));
        came_.notify_all();
      }};
};

TEST_F(FlowResponder, GivesWhatIsAskedForAndEnds) {
  for (std::uint16_t port = 1; port <= 5; ++port) {
    add(port);
  }
  ask(7, "number: 3");
  const auto batch = next();
  EXPECT_EQ(batch.id, 7U);
  EXPECT_THAT(ports(batch), ElementsAre(3, 4, 5));
  EXPECT_TRUE(batch.last);
  EXPECT_EQ(batch.code, 0U);
  // What has ended is over.
  responder_->control({.id = 7, .cancel = false});
  ask(8, "first: true number: 1");
  EXPECT_EQ(next().id, 8U);
}

// One batch for each time that it is asked for.
TEST_F(FlowResponder, GivesNoMoreThanIsAskedFor) {
  for (std::uint16_t port = 1; port <= 4; ++port) {
    add(port);
  }
  ask(1, "", 1);
  EXPECT_THAT(ports(next()), ElementsAre(1));
  // Another request's batch shows that it has been passed over.
  ask(2, "number: 1");
  EXPECT_THAT(ports(next()), ElementsAre(4));
  responder_->control({.id = 1, .cancel = false});
  responder_->control({.id = 1, .cancel = false});
  EXPECT_THAT(ports(next()), ElementsAre(2));
  EXPECT_THAT(ports(next()), ElementsAre(3));
  ask(2, "number: 1");
  EXPECT_EQ(next().id, 2U);
}

TEST_F(FlowResponder, WhatIsNotAskedForInTimeIsLostAndCounted) {
  ask(1, "follow: true", 1);
  const auto begun = next();
  EXPECT_TRUE(begun.caught_up);
  EXPECT_THAT(begun.items, IsEmpty());
  for (std::uint16_t port = 1; port <= 250; ++port) {
    add(port);
  }
  responder_->control({.id = 1, .cancel = false});
  const auto batch = next();
  EXPECT_EQ(batch.lost, 150U);
  EXPECT_THAT(ports(batch), ElementsAre(151));
  EXPECT_FALSE(batch.caught_up);
  EXPECT_FALSE(batch.last);
}

TEST_F(FlowResponder, AFlowThatIsTooLargeIsLostAndCounted) {
  add(1);
  Record record;
  record.from = std::make_shared<const End>(
      End{.ns = "shop", .pod = std::string(70'000, 'x')});
  record.to = record.from;
  record.decision = std::make_shared<const Decision>();
  store_.add(record);
  add(2);
  ask(1, "");
  const auto batch = next();
  EXPECT_THAT(ports(batch), ElementsAre(1, 2));
  EXPECT_EQ(batch.lost, 1U);
  EXPECT_TRUE(batch.last);
}

TEST_F(FlowResponder, NamespacesAreAsManyAsFit) {
  Store many(10'000, 1);
  Record record;
  record.to = std::make_shared<const End>();
  for (int i = 0; i < 6'000; ++i) {
    const auto number = std::to_string(10'000 + i);
    record.from =
        std::make_shared<const End>(End{.ns = number + std::string(58, 'x')});
    many.add(record);
  }
  const auto size = namespaces_of(many).ByteSizeLong();
  EXPECT_LE(size, kNamespacesBytesMax);
  EXPECT_GT(size, kNamespacesBytesMax - 20'000);
}

TEST_F(FlowResponder, FollowsAndSaysWhereThePastEnds) {
  add(1);
  ask(1, "follow: true number: 5");
  const auto past = next();
  EXPECT_THAT(ports(past), ElementsAre(1));
  EXPECT_TRUE(past.caught_up);
  responder_->control({.id = 1, .cancel = false});
  add(2);
  const auto present = next();
  EXPECT_THAT(ports(present), ElementsAre(2));
  EXPECT_FALSE(present.caught_up);
}

TEST_F(FlowResponder, OneThatWaitsDoesNotHoldUpOthers) {
  ask(1, "follow: true");
  EXPECT_TRUE(next().caught_up);
  responder_->control({.id = 1, .cancel = false});
  for (std::uint64_t id = 10; id < 30; ++id) {
    ask(id, "");
    EXPECT_EQ(next().id, id);
  }
  add(9);
  EXPECT_THAT(ports(next()), ElementsAre(9));
}

TEST_F(FlowResponder, GivesOnlyFlowsOfTheNamespaces) {
  add(1, "shop");
  add(2, "bank");
  ask(1, "", 60'000, {"bank"});
  EXPECT_THAT(ports(next()), ElementsAre(2));
}

TEST_F(FlowResponder, RefusesWhatItCannotDo) {
  ask(1, "whitelist { http_method: 'GET' }");
  auto refusal = next();
  EXPECT_TRUE(refusal.last);
  EXPECT_EQ(refusal.code, grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refusal.error, HasSubstr("http_method"));
  wire::FlowRequest noise;
  noise.id = 2;
  noise.request = "\xff\xff\xff";
  responder_->request(noise);
  EXPECT_EQ(next().code, grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(FlowResponder, ALimitOfRequests) {
  for (std::uint64_t id = 1; id <= 3; ++id) {
    ask(id, "follow: true");
    EXPECT_TRUE(next().caught_up);
  }
  ask(4, "");
  EXPECT_EQ(next().code, grpc::StatusCode::RESOURCE_EXHAUSTED);
  responder_->control({.id = 2, .cancel = true});
  ask(5, "");
  EXPECT_EQ(next().code, 0U);
  responder_->cancel_all();
  for (std::uint64_t id = 6; id <= 8; ++id) {
    ask(id, "follow: true");
    EXPECT_TRUE(next().caught_up);
  }
}

TEST_F(FlowResponder, SaysWhatItHas) {
  add(1, "shop");
  add(2, "bank");
  ask_for(1, wire::FlowKind::kStatus);
  auto batch = next();
  ASSERT_EQ(batch.items.size(), 1U);
  EXPECT_TRUE(batch.last);
  ::observer::ServerStatusResponse status;
  ASSERT_TRUE(status.ParseFromString(batch.items[0].message));
  EXPECT_EQ(status.num_flows(), 2U);
  EXPECT_EQ(status.version(), "1");
  ask_for(2, wire::FlowKind::kNamespaces);
  batch = next();
  ASSERT_EQ(batch.items.size(), 1U);
  ::observer::GetNamespacesResponse namespaces;
  ASSERT_TRUE(namespaces.ParseFromString(batch.items[0].message));
  ASSERT_EQ(namespaces.namespaces_size(), 2);
  EXPECT_EQ(namespaces.namespaces(0).namespace_(), "bank");
}

// An agent with a full store, and what takes it a minute to find out.
class BusyFlowResponder : public FlowResponder {
 protected:
  BusyFlowResponder() {
    add_many(many_);
    responder_.emplace(many_, ResponderOptions{.node = "node1", .version = "1"},
                       [this](wire::FlowBatch batch) {
                         const std::scoped_lock lock(mutex_);
                         batches_.push_back(std::move(batch));
                         came_.notify_all();
                       });
  }
  void ask_for_much(std::uint64_t id) {
    responder_->request({.id = id,
                         .kind = wire::FlowKind::kFlows,
                         .request = most_expensive().SerializeAsString(),
                         .batch_bytes = 60'000,
                         .namespaces = {}});
  }

  Store many_{kManyRecords, 1};
};

TEST_F(BusyFlowResponder, OneThatSearchesDoesNotHoldUpOthers) {
  ask_for_much(1);
  ask(2, "number: 1");
  EXPECT_EQ(next().id, 2U);
  responder_->control({.id = 1, .cancel = true});
  ask(3, "number: 1");
  EXPECT_EQ(next().id, 3U);
}

// Whatever it is doing.
TEST_F(BusyFlowResponder, EndsAtOnce) {
  ask(1, "follow: true");
  EXPECT_TRUE(next().caught_up);
  responder_->control({.id = 1, .cancel = false});
  ask_for_much(2);
  ask(3, "number: 1");
  EXPECT_EQ(next().id, 3U) << "the search has begun";
  const auto begin = std::chrono::steady_clock::now();
  responder_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  add_many(many_);
  const std::scoped_lock lock(mutex_);
  EXPECT_TRUE(batches_.empty());
}

}  // namespace
}  // namespace sluice::flow
