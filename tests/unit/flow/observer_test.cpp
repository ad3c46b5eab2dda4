// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/observer.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "lib/flow/figures.h"
#include "lib/flow/time.h"
#include "tests/unit/flow/many_records.h"

namespace sluice::flow {
namespace {

using namespace std::chrono_literals;
using ::observer::GetFlowsRequest;
using ::observer::GetFlowsResponse;

// A server of a store, and a client of it.
class FlowObserver : public ::testing::Test {
 protected:
  // A stream counts for a moment after its client has seen its end.
  explicit FlowObserver(std::size_t capacity = 8, std::size_t streams = 100)
      : store_(capacity, 1),
        observer_(store_,
                  {.node = "node1", .version = "1", .streams_max = streams}) {}
  void SetUp() override {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(&observer_);
    server_ = builder.BuildAndStart();
    stub_ = ::observer::Observer::NewStub(
        grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                            grpc::InsecureChannelCredentials()));
  }
  void TearDown() override { server_->Shutdown(); }

  // A flow to the port, at that second.
  void add(std::uint16_t port, std::int64_t second) {
    static const auto end = std::make_shared<const End>(End{.ns = "shop"});
    static const auto decision = std::make_shared<const Decision>();
    Record record;
    record.time = second * 1'000'000'000;
    record.ip = true;
    record.protocol = IPPROTO_TCP;
    record.destination_port = port;
    record.allowed = port % 2 == 0;
    record.from = end;
    record.to = end;
    record.decision = decision;
    store_.add(record);
  }

  void add_lost(std::uint64_t events, std::int64_t second) {
    static const auto nobody = std::make_shared<const End>();
    Record record;
    record.time = second * 1'000'000'000;
    record.lost = events;
    record.lost_since = record.time - 1'000'000'000;
    record.from = nobody;
    record.to = nobody;
    record.decision = std::make_shared<const Decision>();
    store_.add(record);
  }

  struct Stream {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientReader<GetFlowsResponse>> reader;

    // The next flow's port; 0 at the end; -N if N events are lost.
    [[nodiscard]] long next() const {
      GetFlowsResponse response;
      if (!reader->Read(&response)) {
        return 0;
      }
      EXPECT_EQ(response.node_name(), "node1");
      if (response.has_lost_events()) {
        return -static_cast<long>(response.lost_events().num_events_lost());
      }
      return response.flow().l4().tcp().destination_port();
    }
  };
  Stream open(const std::string& text) {
    GetFlowsRequest request;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request));
    return open(request);
  }
  Stream open(const GetFlowsRequest& request) {
    Stream stream{.context = std::make_unique<grpc::ClientContext>(),
                  .reader = {}};
    stream.context->set_deadline(std::chrono::system_clock::now() + 60s);
    stream.reader = stub_->GetFlows(stream.context.get(), request);
    return stream;
  }
  std::vector<long> ports(const std::string& text) {
    auto stream = open(text);
    std::vector<long> result;
    while (const long port = stream.next()) {
      result.push_back(port);
    }
    EXPECT_TRUE(stream.reader->Finish().ok()) << text;
    return result;
  }
  grpc::Status refused(const std::string& text) {
    auto stream = open(text);
    EXPECT_EQ(stream.next(), 0);
    return stream.reader->Finish();
  }

  Store store_;
  Observer observer_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<::observer::Observer::Stub> stub_;
};

using Ports = std::vector<long>;

TEST_F(FlowObserver, GivesTheFlowsThatAreAskedFor) {
  EXPECT_EQ(ports(""), Ports());
  for (std::uint16_t port = 1; port <= 6; ++port) {
    add(port, 100 + port);
  }
  EXPECT_EQ(ports(""), (Ports{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(ports("number: 2"), (Ports{5, 6}));
  EXPECT_EQ(ports("number: 2 first: true"), (Ports{1, 2}));
  EXPECT_EQ(ports("number: 99"), (Ports{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(ports("since { seconds: 103 }"), (Ports{3, 4, 5, 6}));
  EXPECT_EQ(ports("since { seconds: 103 } number: 2"), (Ports{3, 4}));
  EXPECT_EQ(ports("since { seconds: 103 } until { seconds: 104 }"),
            (Ports{3, 4}));
  EXPECT_EQ(ports("until { seconds: 102 }"), (Ports{1, 2}));
  EXPECT_EQ(ports("since { seconds: 999 }"), Ports());
}

TEST_F(FlowObserver, CountsOnlyFlowsThatMatch) {
  for (std::uint16_t port = 1; port <= 8; ++port) {
    add(port, 100 + port);
  }
  EXPECT_EQ(ports("number: 2 whitelist { verdict: DROPPED }"), (Ports{5, 7}));
  EXPECT_EQ(ports("number: 2 first: true whitelist { verdict: DROPPED }"),
            (Ports{1, 3}));
  EXPECT_EQ(ports("number: 3 blacklist { destination_port: '8' }"),
            (Ports{5, 6, 7}));
  EXPECT_EQ(ports("number: 2 whitelist { destination_port: '99' }"), Ports());
}

TEST_F(FlowObserver, WhatTheKernelHasLostIsToldWhateverIsAskedFor) {
  add(1, 101);
  add_lost(12, 102);
  add(2, 103);
  EXPECT_EQ(ports(""), (Ports{1, -12, 2}));
  EXPECT_EQ(ports("number: 2"), (Ports{1, -12, 2})) << "it is no flow";
  EXPECT_EQ(ports("number: 1"), (Ports{2}));
  EXPECT_EQ(ports("whitelist { verdict: DROPPED }"), (Ports{1, -12}));
  EXPECT_EQ(ports("until { seconds: 101 }"), (Ports{1}));
  auto stream = open("since { seconds: 102 }");
  GetFlowsResponse response;
  ASSERT_TRUE(stream.reader->Read(&response));
  EXPECT_EQ(response.lost_events().source(), ::flow::PERF_EVENT_RING_BUFFER);
  EXPECT_EQ(response.time().seconds(), 102);
  EXPECT_EQ(response.lost_events().first().seconds(), 101);
  EXPECT_EQ(response.lost_events().last().seconds(), 102);
}

TEST_F(FlowObserver, Follows) {
  add(1, 101);
  add(2, 102);
  auto from_now = open("follow: true");
  auto from_last = open("follow: true number: 1");
  EXPECT_EQ(from_last.next(), 2);
  std::this_thread::sleep_for(100ms);
  add(3, 103);
  add(4, 104);
  for (auto* stream : {&from_now, &from_last}) {
    EXPECT_EQ(stream->next(), 3);
    EXPECT_EQ(stream->next(), 4);
    stream->context->TryCancel();
    EXPECT_EQ(stream->reader->Finish().error_code(),
              grpc::StatusCode::CANCELLED);
  }
}

TEST_F(FlowObserver, ASlowReaderIsToldWhatItHasMissed) {
  auto stream = open("follow: true");
  std::this_thread::sleep_for(100ms);
  long added = 0;
  long seen = 0;
  bool lost = false;
  // What gRPC buffers comes first.
  for (int turn = 0; turn < 100 && !lost; ++turn) {
    for (int i = 0; i < 2000; ++i) {
      add(2, 100);
      ++added;
    }
    std::this_thread::sleep_for(60ms);
    while (seen < added) {
      const long next = stream.next();
      ASSERT_NE(next, 0);
      lost = lost || next < 0;
      seen += next < 0 ? -next : 1;
    }
  }
  EXPECT_TRUE(lost);
  EXPECT_EQ(seen, added);
  stream.context->TryCancel();
}

TEST_F(FlowObserver, RefusesWhatItCannotDo) {
  const auto both = refused("first: true follow: true");
  EXPECT_EQ(both.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const auto http = refused("whitelist { http_method: 'GET' }");
  EXPECT_EQ(http.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(http.error_message().find("http_method"), std::string::npos);
}

TEST_F(FlowObserver, GivesTheFieldsThatAreWanted) {
  add(2, 101);
  auto stream = open("field_mask { paths: 'verdict' paths: 'source' }");
  GetFlowsResponse response;
  ASSERT_TRUE(stream.reader->Read(&response));
  EXPECT_EQ(response.flow().ShortDebugString(),
            "verdict: FORWARDED source { }");
  const auto status = refused("field_mask { paths: 'x' }");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("'x'"), std::string::npos);
}

// A store that holds less than a minute of flows does not know the others.
TEST_F(FlowObserver, TheRateIsOfTheTimeThatTheStoreCovers) {
  const auto second = now() / kSecond;
  for (int i = 0; i < 100; ++i) {
    add(2, second - 4);
  }
  EXPECT_GT(status_of(store_, "1", 0).flows_rate(), 1.0) << "8 in 4 to 6 s";
  EXPECT_LT(status_of(store_, "1", 0).flows_rate(), 2.5);
  Store large(200, 1);
  Record record;
  record.time = (second - 4) * kSecond;
  for (int i = 0; i < 120; ++i) {
    large.add(record);
  }
  EXPECT_DOUBLE_EQ(status_of(large, "1", 0).flows_rate(), 2.0);
}

class FewFlowStreams : public FlowObserver {
 protected:
  FewFlowStreams() : FlowObserver(8, 3) {}
};

TEST_F(FewFlowStreams, OneMoreIsRefusedUntilAnotherHasEnded) {
  std::vector<Stream> streams;
  streams.reserve(3);
  for (int i = 0; i < 3; ++i) {
    streams.push_back(open("follow: true number: 1"));
  }
  add(2, 100);
  for (auto& stream : streams) {
    EXPECT_EQ(stream.next(), 2);
  }
  EXPECT_EQ(refused("").error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  streams.pop_back();
  const auto end = std::chrono::steady_clock::now() + 20s;
  bool free = false;
  while (!free && std::chrono::steady_clock::now() < end) {
    auto stream = open("number: 1");
    free = stream.next() == 2;
    (void)stream.reader->Finish();
  }
  EXPECT_TRUE(free) << "a stream that has ended counts still";
}

class BusyFlowObserver : public FlowObserver {
 protected:
  BusyFlowObserver() : FlowObserver(kManyRecords) { add_many(store_); }
};

// A client that goes away while a full store is searched for it.
TEST_F(BusyFlowObserver, AStreamThatIsCancelledEndsAtOnce) {
  std::vector<Stream> streams;
  streams.reserve(3);
  for (int i = 0; i < 3; ++i) {
    streams.push_back(open(most_expensive()));
  }
  std::this_thread::sleep_for(100ms);
  for (auto& stream : streams) {
    stream.context->TryCancel();
    EXPECT_EQ(stream.next(), 0);
  }
  const auto begin = std::chrono::steady_clock::now();
  server_->Shutdown();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
}

TEST_F(FlowObserver, SaysWhatItHas) {
  for (std::uint16_t port = 1; port <= 10; ++port) {
    add(port, 100 + port);
  }
  grpc::ClientContext status_context;
  ::observer::ServerStatusResponse status;
  ASSERT_TRUE(stub_->ServerStatus(&status_context, {}, &status).ok());
  EXPECT_EQ(status.num_flows(), 8U);
  EXPECT_EQ(status.max_flows(), 8U);
  EXPECT_EQ(status.seen_flows(), 10U);
  EXPECT_EQ(status.num_connected_nodes().value(), 1U);
  EXPECT_EQ(status.version(), "1");
  grpc::ClientContext nodes_context;
  ::observer::GetNodesResponse nodes;
  ASSERT_TRUE(stub_->GetNodes(&nodes_context, {}, &nodes).ok());
  ASSERT_EQ(nodes.nodes_size(), 1);
  EXPECT_EQ(nodes.nodes(0).name(), "node1");
  grpc::ClientContext namespaces_context;
  ::observer::GetNamespacesResponse namespaces;
  ASSERT_TRUE(stub_->GetNamespaces(&namespaces_context, {}, &namespaces).ok());
  ASSERT_EQ(namespaces.namespaces_size(), 1);
  EXPECT_EQ(namespaces.namespaces(0).namespace_(), "shop");
}

}  // namespace
}  // namespace sluice::flow
