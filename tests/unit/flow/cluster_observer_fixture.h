// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <google/protobuf/text_format.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "lib/flow/cluster_observer.h"
#include "lib/flow/responder.h"
#include "lib/flow/store.h"

// A ClusterObserver, served to clients, and the nodes whose flows it gives.
namespace sluice::flow::test {

// Knows its tokens; "later" is answered when the test says so. What is revoked
// gives no right any more.
class FakeGate : public Gate {
 public:
  void admit(const std::string& authorization,
             const std::vector<std::string>& namespaces, Done done) override {
    Admission admission;
    admission.user = authorization;
    admission.missing = "no right";
    if (busy) {
      admission.status = {grpc::StatusCode::UNAVAILABLE, "busy"};
    } else if (revoked) {
      // It is known who it is.
    } else if (authorization == "all" || authorization == "other") {
      admission.everything = true;
    } else if (authorization == "shop") {
      for (const auto& name : namespaces) {
        if (name == "shop") {
          admission.namespaces.push_back(name);
        }
      }
    } else if (authorization == "later") {
      const std::scoped_lock lock(mutex);
      waiting.push_back(std::move(done));
      return;
    } else {
      admission.status = {grpc::StatusCode::UNAUTHENTICATED, "who is it?"};
    }
    done(admission);
  }

  std::atomic<bool> busy = false;
  std::atomic<bool> revoked = false;
  std::mutex mutex;
  std::vector<Done> waiting;
};

// Agents of a few nodes, the thread of an operator, and a server.
class FlowClusterObserver : public ::testing::Test {
 protected:
  struct Node {
    explicit Node(std::string name, Responder::Send send)
        : responder(store, {.node = std::move(name), .version = "9"},
                    std::move(send)) {}
    Store store{1000, 1};
    Responder responder;
  };

  // Starts the server. `gated`: gate_ admits its clients.
  void begin(ClusterOptions options = {}, bool gated = false) {
    options.version = "op";
    cluster_.emplace(
        options,
        Cluster::Links{
            .request =
                [this](const std::string& node, std::uint64_t id,
                       const std::shared_ptr<const wire::FlowRequest>& what) {
                  if (!connected_.contains(node)) {
                    return false;
                  }
                  auto request = *what;
                  request.id = id;
                  nodes_.at(node)->responder.request(std::move(request));
                  ++requests_;
                  return true;
                },
            .control =
                [this](const std::string& node,
                       const wire::FlowControl& control) {
                  cancels_ += control.cancel ? 1 : 0;
                  if (connected_.contains(node)) {
                    nodes_.at(node)->responder.control(control);
                  }
                },
            .wake = [this] { post({}); }});
    observer_.emplace(*cluster_, gated ? &gate_ : nullptr);
    grpc::ServerBuilder builder;
    set_observer_limits(builder);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(&*observer_);
    server_ = builder.BuildAndStart();
    stub_ = client();
    owner_ = std::thread([this] { own(); });
  }
  void TearDown() override {
    if (server_) {
      server_->Shutdown(std::chrono::system_clock::now());
    }
    stopping_ = true;
    post({});
    if (owner_.joinable()) {
      owner_.join();
    }
    nodes_.clear();
  }
  // With a connection of its own.
  [[nodiscard]] std::unique_ptr<::observer::Observer::Stub> client() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return ::observer::Observer::NewStub(grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(port_),
        grpc::InsecureChannelCredentials(), arguments));
  }

  // The owner's thread, in which the cluster lives.
  void own() {
    while (!stopping_) {
      std::vector<std::function<void()>> work;
      {
        std::unique_lock lock(mutex_);
        posted_.wait_for(lock, std::chrono::milliseconds(20),
                         [&] { return !work_.empty(); });
        work.swap(work_);
      }
      for (const auto& one : work) {
        if (one) {
          one();
        }
      }
      cluster_->turn();
    }
  }
  // Does it in the owner's thread, later.
  void post(std::function<void()> work) {
    const std::scoped_lock lock(mutex_);
    work_.push_back(std::move(work));
    posted_.notify_all();
  }
  // The same, and waits for it.
  void run(std::function<void()> work) {
    std::atomic<bool> done = false;
    post([&] {
      work();
      done = true;
      done.notify_all();
    });
    done.wait(false);
  }

  // One whose responder can be asked once it is connected.
  Node& node(const std::string& name) {
    auto& found = nodes_[name];
    if (!found) {
      found = std::make_unique<Node>(name, [this](wire::FlowBatch batch) {
        auto shared = std::make_shared<wire::FlowBatch>(std::move(batch));
        post([this, shared] { cluster_->on_batch(std::move(*shared)); });
      });
    }
    return *found;
  }
  void connect(const std::string& name) {
    run([&] {
      node(name);
      connected_.insert(name);
      cluster_->set_node(name, NodeState::kConnected);
    });
  }
  // A flow to the port, at that second.
  void add(const std::string& name, std::uint16_t port, std::int64_t second,
           const std::string& ns = "shop") {
    Record record;
    record.time = second * 1'000'000'000;
    record.ip = true;
    record.protocol = IPPROTO_TCP;
    record.destination_port = port;
    record.allowed = true;
    record.from = std::make_shared<const End>(End{.ns = ns, .pod = "a"});
    record.to = std::make_shared<const End>();
    record.decision = std::make_shared<const Decision>();
    nodes_.at(name)->store.add(record);
  }

  struct Stream {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientReader<::observer::GetFlowsResponse>> reader;

    // The next flow's port, after what is said of nodes; 0 at the end.
    [[nodiscard]] long next() const {
      ::observer::GetFlowsResponse response;
      while (reader->Read(&response)) {
        if (response.has_flow()) {
          return response.flow().l4().tcp().destination_port();
        }
      }
      return 0;
    }
    [[nodiscard]] std::string node_status() const {
      ::observer::GetFlowsResponse response;
      EXPECT_TRUE(reader->Read(&response));
      return response.node_status().ShortDebugString();
    }
  };
  // `text`: a GetFlowsRequest. Without a stub, by stub_.
  Stream open(const std::string& text, const std::string& token = {},
              ::observer::Observer::Stub* stub = nullptr) {
    ::observer::GetFlowsRequest request;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request));
    return open(request, token, stub);
  }
  Stream open(const ::observer::GetFlowsRequest& request,
              const std::string& token,
              ::observer::Observer::Stub* stub = nullptr) {
    Stream stream{.context = context(token), .reader = {}};
    stream.reader = (stub == nullptr ? *stub_ : *stub)
                        .GetFlows(stream.context.get(), request);
    return stream;
  }
  static std::unique_ptr<grpc::ClientContext> context(
      const std::string& token) {
    auto result = std::make_unique<grpc::ClientContext>();
    result->set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(60));
    if (!token.empty()) {
      result->AddMetadata("authorization", token);
    }
    return result;
  }
  // Of all flows that the client gets. Fails the test if the call does.
  std::vector<long> ports(const std::string& text,
                          const std::string& token = {}) {
    auto stream = open(text, token);
    std::vector<long> result;
    while (const long port = stream.next()) {
      result.push_back(port);
    }
    const auto status = stream.reader->Finish();
    EXPECT_TRUE(status.ok()) << text << ": " << status.error_message();
    return result;
  }
  // How a call ends that gets no flow.
  grpc::Status refused(const std::string& text, const std::string& token = {}) {
    return status_of(open(text, token));
  }
  grpc::Status refused(const ::observer::GetFlowsRequest& request,
                       const std::string& token = {}) {
    return status_of(open(request, token));
  }
  static grpc::Status status_of(const Stream& stream) {
    EXPECT_EQ(stream.next(), 0);
    return stream.reader->Finish();
  }
  // Calls that wait for their admission, as many as there may be.
  std::vector<Stream> open_waiting(const ::observer::GetFlowsRequest& request) {
    const auto waiting = [&] {
      const std::scoped_lock lock(gate_.mutex);
      return gate_.waiting.size();
    };
    const auto before = waiting();
    std::vector<Stream> streams;
    streams.reserve(kUnknownCalls);
    for (std::size_t i = 0; i < kUnknownCalls; ++i) {
      streams.push_back(open(request, "later"));
    }
    EXPECT_TRUE(
        eventually([&] { return waiting() == before + kUnknownCalls; }));
    return streams;
  }
  // Fewer than a connection has.
  static constexpr std::size_t kUnknownCalls = 40;
  // Until it holds, within a minute.
  static bool eventually(const std::function<bool()>& holds) {
    const auto end =
        std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!holds() && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return holds();
  }

  FakeGate gate_;
  std::mutex mutex_;
  std::condition_variable posted_;
  std::vector<std::function<void()>> work_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> requests_ = 0;
  std::atomic<int> cancels_ = 0;
  std::map<std::string, std::unique_ptr<Node>> nodes_;
  std::set<std::string> connected_;
  std::optional<Cluster> cluster_;
  std::optional<ClusterObserver> observer_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<::observer::Observer::Stub> stub_;
  std::thread owner_;
};

}  // namespace sluice::flow::test
