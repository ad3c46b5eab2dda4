// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster_observer.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include "tests/unit/flow/cluster_observer_fixture.h"
#include "tests/unit/flow/many_records.h"

namespace sluice::flow::test {
namespace {

using namespace std::chrono_literals;
using ::observer::GetFlowsRequest;
using ::observer::GetFlowsResponse;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(FlowClusterObserver, GivesFlowsOfAllNodes) {
  begin();
  EXPECT_THAT(ports(""), IsEmpty());
  connect("a");
  connect("b");
  for (std::uint16_t port = 1; port <= 300; ++port) {
    add(port % 2 == 0 ? "a" : "b", port, 100 + port);
  }
  EXPECT_THAT(ports("number: 3"), ElementsAre(298, 299, 300));
  EXPECT_THAT(ports("number: 2 first: true"), ElementsAre(1, 2));
  const auto all = ports("");
  ASSERT_EQ(all.size(), 300U);
  EXPECT_TRUE(std::ranges::is_sorted(all));
}

TEST_F(FlowClusterObserver, Follows) {
  begin();
  connect("a");
  connect("b");
  add("a", 1, 101);
  auto stream = open("follow: true number: 1");
  EXPECT_EQ(stream.next(), 1);
  add("b", 2, 102);
  EXPECT_EQ(stream.next(), 2);
  connect("c");
  add("c", 3, 4'000'000'000);
  EXPECT_EQ(stream.next(), 3);
  stream.context->TryCancel();
  EXPECT_EQ(stream.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(eventually([&] { return cancels_ == 3; }))
      << "agents are told that nothing is wanted any more";
  EXPECT_TRUE(eventually([&] { return cluster_->counters().calls == 0; }));
}

// Nobody is asked for anything before a client is there.
TEST_F(FlowClusterObserver, AsksOnlyForClients) {
  begin();
  connect("a");
  add("a", 1, 101);
  std::this_thread::sleep_for(100ms);
  EXPECT_EQ(requests_, 0);
  EXPECT_THAT(ports(""), ElementsAre(1));
  EXPECT_EQ(requests_, 1);
}

TEST_F(FlowClusterObserver, ANodeThatCannotBeAskedIsAway) {
  begin();
  connect("a");
  run([&] { connected_.clear(); });
  auto stream = open("");
  EXPECT_THAT(stream.node_status(), HasSubstr("NODE_CONNECTED"));
  EXPECT_THAT(stream.node_status(), HasSubstr("NODE_UNAVAILABLE"));
  EXPECT_EQ(stream.next(), 0);
  EXPECT_TRUE(stream.reader->Finish().ok());
}

TEST_F(FlowClusterObserver, SaysWhatNodesHave) {
  begin({.patience = 300ms});
  connect("a");
  connect("b");
  run([&] { cluster_->set_node("c", NodeState::kAway); });
  add("a", 1, 101, "shop");
  add("b", 2, 102, "bank");
  add("b", 3, 103, "bank");
  auto status_context = context("");
  ::observer::ServerStatusResponse status;
  ASSERT_TRUE(stub_->ServerStatus(status_context.get(), {}, &status).ok());
  EXPECT_EQ(status.num_flows(), 3U);
  EXPECT_EQ(status.max_flows(), 2000U);
  EXPECT_EQ(status.seen_flows(), 3U);
  EXPECT_EQ(status.version(), "op");
  EXPECT_EQ(status.num_connected_nodes().value(), 2U);
  EXPECT_EQ(status.num_unavailable_nodes().value(), 1U);
  EXPECT_THAT(status.unavailable_nodes(), ElementsAre("c"));
  auto nodes_context = context("");
  ::observer::GetNodesResponse nodes;
  ASSERT_TRUE(stub_->GetNodes(nodes_context.get(), {}, &nodes).ok());
  ASSERT_EQ(nodes.nodes_size(), 3);
  EXPECT_EQ(nodes.nodes(1).name(), "b");
  EXPECT_EQ(nodes.nodes(1).version(), "9");
  EXPECT_EQ(nodes.nodes(1).num_flows(), 2U);
  EXPECT_EQ(nodes.nodes(1).state(), ::relay::NODE_CONNECTED);
  EXPECT_EQ(nodes.nodes(2).state(), ::relay::NODE_UNAVAILABLE);
  auto namespaces_context = context("");
  ::observer::GetNamespacesResponse namespaces;
  ASSERT_TRUE(
      stub_->GetNamespaces(namespaces_context.get(), {}, &namespaces).ok());
  ASSERT_EQ(namespaces.namespaces_size(), 2);
  EXPECT_EQ(namespaces.namespaces(0).namespace_(), "bank");
  EXPECT_EQ(namespaces.namespaces(1).namespace_(), "shop");
}

// One that is connected and says nothing.
TEST_F(FlowClusterObserver, ANodeThatDoesNotAnswerIsNotWaitedForLong) {
  begin({.patience = 100ms});
  connect("a");
  node("b");
  run([&] { cluster_->set_node("b", NodeState::kConnected); });
  // Its responder is full of requests that never end.
  auto nodes_context = context("");
  ::observer::GetNodesResponse nodes;
  ASSERT_TRUE(stub_->GetNodes(nodes_context.get(), {}, &nodes).ok());
  ASSERT_EQ(nodes.nodes_size(), 2);
  EXPECT_EQ(nodes.nodes(0).state(), ::relay::NODE_CONNECTED);
  EXPECT_EQ(nodes.nodes(1).state(), ::relay::NODE_UNAVAILABLE);
}

TEST_F(FlowClusterObserver, WhoMayReadWhat) {
  begin({}, true);
  connect("a");
  add("a", 1, 101, "shop");
  add("a", 2, 102, "bank");
  EXPECT_EQ(refused("").error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(refused("", "nobody").error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(ports("", "all"), ElementsAre(1, 2));
  // A right in a namespace.
  const auto without = refused("", "shop");
  EXPECT_EQ(without.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(without.error_message(), HasSubstr("no right"));
  EXPECT_EQ(refused("whitelist { source_pod: 'bank/' }", "shop").error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(refused("whitelist { source_pod: 'shop/' } whitelist { verdict: "
                    "FORWARDED }",
                    "shop")
                .error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(ports("whitelist { source_pod: 'shop/' }", "shop"),
              ElementsAre(1));
  // The state of nodes is the cluster's.
  for (const auto* token : {"shop", "nobody", ""}) {
    auto status_context = context(token);
    ::observer::ServerStatusResponse status;
    EXPECT_FALSE(stub_->ServerStatus(status_context.get(), {}, &status).ok());
    auto nodes_context = context(token);
    ::observer::GetNodesResponse nodes;
    EXPECT_FALSE(stub_->GetNodes(nodes_context.get(), {}, &nodes).ok());
    auto namespaces_context = context(token);
    ::observer::GetNamespacesResponse namespaces;
    EXPECT_FALSE(
        stub_->GetNamespaces(namespaces_context.get(), {}, &namespaces).ok());
  }
  auto status_context = context("all");
  ::observer::ServerStatusResponse status;
  EXPECT_TRUE(stub_->ServerStatus(status_context.get(), {}, &status).ok());
}

TEST_F(FlowClusterObserver, RefusesWhatItCannotDo) {
  begin();
  connect("a");
  EXPECT_EQ(refused("first: true follow: true").error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  const auto http = refused("whitelist { http_method: 'GET' }");
  EXPECT_EQ(http.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(http.error_message(), HasSubstr("http_method"));
  // A little more than is possible, and more than is received at all.
  for (const std::size_t size : {33'000U, 100'000U}) {
    GetFlowsRequest request;
    request.add_whitelist()->add_source_fqdn(std::string(size, 'x'));
    const auto status = refused(request);
    EXPECT_EQ(status.error_code(), size < 36'864
                                       ? grpc::StatusCode::INVALID_ARGUMENT
                                       : grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_FALSE(status.error_message().empty());
  }
  EXPECT_EQ(requests_, 0);
  EXPECT_THAT(ports(""), IsEmpty()) << "others do not suffer";
}

// What is much larger in memory than on its way: who has no right can send it
// as well.
TEST_F(FlowClusterObserver, TooManyFiltersAreRefusedBeforeAnybodyIsAsked) {
  begin({}, true);
  GetFlowsRequest request;
  for (int i = 0; i < 16'000; ++i) {
    request.add_whitelist();
  }
  for (int i = 0; i < 20; ++i) {
    const auto status = refused(request, "later");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("limit 100"));
  }
  EXPECT_THAT(gate_.waiting, IsEmpty());
}

// A request of 5 KB that takes 170 KB when it is parsed, while it waits.
TEST_F(FlowClusterObserver, WhoIsNotAdmittedYetCostsLittleMemory) {
  begin({.unknown_calls_max = 2 * kUnknownCalls}, true);
  GetFlowsRequest large;
  for (int i = 0; i < 100; ++i) {
    auto& filter = *large.add_whitelist();
    for (int k = 0; k < 10; ++k) {
      filter.add_source_pod("a/b");
    }
  }
  const auto used = [] { return ::mallinfo2().uordblks; };
  const auto begun = used();
  const auto small_streams = open_waiting({});
  const auto small = used() - begun;
  const auto large_streams = open_waiting(large);
  const auto both = used() - begun;
  EXPECT_LT(both, (2 * small) + (kUnknownCalls * std::size_t{100'000}));
}

// Of one user, of all, and of those that nobody knows yet.
TEST_F(FlowClusterObserver, LimitsOfCalls) {
  begin({.calls_max = 5, .user_calls_max = 3, .unknown_calls_max = 2}, true);
  connect("a");
  add("a", 1, 101);
  std::vector<Stream> streams;
  for (int i = 0; i < 3; ++i) {
    streams.push_back(open("follow: true number: 1", "all"));
    EXPECT_EQ(streams.back().next(), 1);
  }
  const auto fourth = refused("", "all");
  EXPECT_EQ(fourth.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(fourth.error_message(), HasSubstr("of all"));
  for (int i = 0; i < 2; ++i) {
    streams.push_back(open("follow: true number: 1", "other"));
    EXPECT_EQ(streams.back().next(), 1);
  }
  EXPECT_EQ(refused("", "other").error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  for (int i = 0; i < 2; ++i) {
    streams.push_back(open("", "later"));
  }
  EXPECT_TRUE(eventually([&] {
    const std::scoped_lock lock(gate_.mutex);
    return gate_.waiting.size() == 2;
  }));
  EXPECT_EQ(refused("", "later").error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_GE(cluster_->counters().refused, 3U);
  streams.clear();
  EXPECT_TRUE(eventually([&] { return cluster_->counters().calls == 0; }));
  // The two that were waiting are not among these calls.
  EXPECT_TRUE(eventually([&] {
    auto stream = open("", "all");
    const auto port = stream.next();
    return port == 1 && stream.next() == 0 && stream.reader->Finish().ok();
  }));
  // An answer that comes too late is for nobody.
  const std::scoped_lock lock(gate_.mutex);
  for (const auto& done : gate_.waiting) {
    done({.status = grpc::Status::OK,
          .user = "all",
          .everything = true,
          .namespaces = {},
          .missing = {}});
  }
}

// A thousand streams of clients that read nothing.
TEST_F(FlowClusterObserver, AThousandStreams) {
  begin({.calls_max = 20, .user_calls_max = 10}, true);
  connect("a");
  add("a", 1, 101);
  std::vector<std::unique_ptr<::observer::Observer::Stub>> stubs;
  std::vector<Stream> streams;
  for (int i = 0; i < 1'000; ++i) {
    if (i % 50 == 0) {
      stubs.push_back(client());
    }
    streams.push_back(open("follow: true", "all", stubs.back().get()));
  }
  EXPECT_TRUE(eventually([&] { return cluster_->counters().refused == 990; }));
  EXPECT_EQ(cluster_->counters().calls, 10U);
  EXPECT_THAT(ports("", "other"), ElementsAre(1)) << "others do not suffer";
  streams.clear();
  EXPECT_TRUE(eventually([&] { return cluster_->counters().calls == 0; }));
  EXPECT_THAT(ports("", "all"), ElementsAre(1));
}

// A client that reads nothing: its flows wait at the agent, which counts what
// it loses.
TEST_F(FlowClusterObserver, ASlowClientLosesFlowsAndIsTold) {
  begin({.reader = {.bytes_max = 50'000}});
  connect("a");
  auto stream = open("follow: true");
  EXPECT_THAT(stream.node_status(), HasSubstr("NODE_CONNECTED"));
  EXPECT_TRUE(eventually([&] { return requests_ == 1; }));
  std::this_thread::sleep_for(200ms);
  std::uint64_t added = 0;
  std::uint64_t seen = 0;
  std::uint64_t lost = 0;
  // What gRPC buffers comes first.
  for (int turn = 0; turn < 100 && lost == 0; ++turn) {
    for (int i = 0; i < 5'000; ++i) {
      add("a", 2, 100);
      ++added;
    }
    std::this_thread::sleep_for(100ms);
    GetFlowsResponse response;
    for (int i = 0; i < 100 && stream.reader->Read(&response); ++i) {
      lost += response.lost_events().num_events_lost();
      seen += response.has_flow() ? 1 : 0;
    }
  }
  EXPECT_GT(lost, 0U);
  while (seen + lost < added) {
    GetFlowsResponse response;
    ASSERT_TRUE(stream.reader->Read(&response));
    lost += response.lost_events().num_events_lost();
    seen += response.has_flow() ? 1 : 0;
  }
  EXPECT_EQ(seen + lost, added);
  stream.context->TryCancel();
}

TEST_F(FlowClusterObserver, AStreamEndsWithItsRight) {
  begin({.check_right_every = 50ms}, true);
  connect("a");
  auto all = open("follow: true", "all");
  auto shop = open("follow: true whitelist { source_pod: 'shop/' }", "shop");
  EXPECT_TRUE(eventually([&] { return requests_ == 2; }));
  gate_.busy = true;
  std::this_thread::sleep_for(300ms);
  add("a", 2, 100);
  EXPECT_EQ(all.next(), 2) << "a right that cannot be checked holds";
  EXPECT_EQ(shop.next(), 2);
  gate_.revoked = true;
  gate_.busy = false;
  for (const auto* stream : {&all, &shop}) {
    EXPECT_EQ(stream->next(), 0);
    EXPECT_EQ(stream->reader->Finish().error_code(),
              grpc::StatusCode::PERMISSION_DENIED);
  }
}

// It has one of few places.
TEST_F(FlowClusterObserver, AStreamThatIsNotReadIsEnded) {
  begin({.write_patience = 2s});
  connect("a");
  auto unread = open("follow: true");
  auto read = open("follow: true");
  EXPECT_TRUE(eventually([&] { return requests_ == 2; }));
  std::this_thread::sleep_for(100ms);
  const auto flows = [&] {
    for (int i = 0; i < 1'000; ++i) {
      add("a", 2, 100);
    }
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(read.next(), 2);
    }
    return cluster_->counters().calls == 1;
  };
  EXPECT_TRUE(eventually(flows)) << "more than the connection holds";
  while (unread.next() != 0) {
  }
  EXPECT_EQ(unread.reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(read.next(), 2);
  read.context->TryCancel();
}

// Whatever is open, a server that ends does so at once.
TEST_F(FlowClusterObserver, EndsAtOnce) {
  begin({.patience = 60s}, true);
  connect("a");
  add_many(nodes_.at("a")->store);
  auto following = open("follow: true", "all");
  auto searching = open(most_expensive(), "all");
  EXPECT_TRUE(eventually([&] { return requests_ == 2; }));
  auto waiting = open("", "later");
  std::thread asking([&] {
    node("b");
    run([&] { cluster_->set_node("b", NodeState::kConnected); });
    auto status_context = context("later");
    ::observer::ServerStatusResponse status;
    EXPECT_FALSE(stub_->ServerStatus(status_context.get(), {}, &status).ok());
  });
  EXPECT_TRUE(eventually([&] {
    const std::scoped_lock lock(gate_.mutex);
    return gate_.waiting.size() == 2;
  }));
  const auto shut_at = std::chrono::steady_clock::now();
  server_->Shutdown(std::chrono::system_clock::now());
  asking.join();
  EXPECT_LT(std::chrono::steady_clock::now() - shut_at, 20s);
  EXPECT_EQ(following.next(), 0);
  EXPECT_FALSE(following.reader->Finish().ok());
  EXPECT_EQ(searching.next(), 0);
  EXPECT_EQ(waiting.next(), 0);
}

}  // namespace
}  // namespace sluice::flow::test
