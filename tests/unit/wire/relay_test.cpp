// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/relay.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "lib/wire/replication.h"
#include "lib/wire/tls.h"
#include "tests/unit/wire/raw_channel.h"
#include "tests/unit/wire/world.h"
#include "wire.grpc.pb.h"

namespace sluice::wire::test {
namespace {

using Link = RelayLinks::Link;

RelayOptions named(const std::string& replica) {
  RelayOptions options;
  options.replica = replica;
  options.retry = 20ms;
  return options;
}

// One replica, and what it was told.
struct Replica {
  explicit Replica(const RelayOptions& options) {
    links.emplace(std::move(*RelayLinks::open(
        options,
        {.on_open =
             [this](Link link, const std::string& replica, bool to_leader) {
               open[link] = replica;
               (to_leader ? leader : last) = link;
             },
         .on_message = [this](Link link, RelayMessage message) -> Result<void> {
           messages.emplace_back(link, std::move(message));
           if (strict) {
             return fail("not wanted");
           }
           return {};
         },
         .on_close =
             [this](Link link, const std::string& why) {
               EXPECT_EQ(open.erase(link), 1U);
               closed.push_back(why);
             },
         .on_problem =
             [this](const std::string& why) { problems.push_back(why); }})));
  }
  [[nodiscard]] bool has_problem(const std::string& part) const {
    return std::ranges::any_of(problems, [&](const std::string& problem) {
      return problem.find(part) != std::string::npos;
    });
  }

  std::map<Link, std::string> open;
  Link leader = 0;
  Link last = 0;  // that was accepted
  std::vector<std::pair<Link, RelayMessage>> messages;
  std::vector<std::string> closed;
  std::vector<std::string> problems;
  bool strict = false;
  std::optional<RelayLinks> links;
};

using RawStream = grpc::ClientReaderWriter<v1::RelayMessage, v1::RelayMessage>;

v1::RelayMessage hello(std::uint32_t major = kVersion.major) {
  v1::RelayMessage message;
  message.mutable_hello()->mutable_version()->set_major(major);
  message.mutable_hello()->set_replica("raw");
  return message;
}

FlowBatch batch_of(std::size_t bytes) {
  FlowBatch batch;
  batch.id = 7;
  batch.items.push_back({.time = 1, .message = std::string(bytes, 'x')});
  return batch;
}

// The leader's server, and replicas that connect to it.
class WireRelay : public testing::Test {
 protected:
  void lead(const RelayOptions& options = named("leader"), bool relays = true,
            bool plain_text = false) {
    leader_.emplace(options);
    ServerOptions server;
    server.address = "127.0.0.1:0";
    server.plain_text = plain_text;
    if (!plain_text) {
      tls_ = *make_self_signed_ca_and_server_cert({"operator.test"},
                                                  std::chrono::hours(1));
      server.certificate = tls_->server;
    }
    server.replica_token = good_token();
    if (relays) {
      server.relay = leader_->links->acceptor();
    }
    server_.emplace(std::move(*Server::start(server, {}, nobody_)));
  }
  Replica& replica(const std::string& name, const std::string& token) {
    auto& made = replicas_.emplace_back(named(name));
    made.links->set_leader(target(token));
    return made;
  }
  Replica& replica(const std::string& name) {
    return replica(name, good_token());
  }
  [[nodiscard]] RelayTarget target(const std::string& token) const {
    return {.target = "127.0.0.1:" + std::to_string(server_->port()),
            .server_name = "operator.test",
            .ca_pem = tls_ ? tls_->ca_pem : "",
            .token = token};
  }
  [[nodiscard]] std::string good_token() const {
    return replica_token(tls_ ? tls_->server.key_pem : "");
  }
  bool run(const std::function<bool()>& done) {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (!done() && std::chrono::steady_clock::now() < deadline) {
      std::vector<pollfd> fds;
      const auto add = [&](int fd) {
        fds.push_back({.fd = fd, .events = POLLIN, .revents = 0});
      };
      add(server_->poll_fd());
      add(leader_->links->poll_fd());
      for (const auto& one : replicas_) {
        add(one.links->poll_fd());
      }
      ::poll(fds.data(), fds.size(), 20);
      server_->dispatch();
      leader_->links->dispatch();
      for (auto& one : replicas_) {
        one.links->dispatch();
      }
    }
    return done();
  }
  // A replica by hand, in a thread of its own, until `act` is done and its
  // stream has ended.
  grpc::Status raw(const std::function<void(RawStream&)>& act) {
    grpc::Status status;
    std::atomic<bool> done = false;
    std::thread thread([&] {
      auto stub = v1::Replication::NewStub(raw_channel(target("").target));
      grpc::ClientContext context;
      prepare(context, good_token(), 60s);
      const auto stream = stub->Relay(&context);
      status = play<v1::RelayMessage>(*stream, act);
      done = true;
    });
    EXPECT_TRUE(run([&] { return done.load(); }));
    thread.join();
    return status;
  }
  grpc::Status raw_says(const v1::RelayMessage& message) {
    return raw([&](RawStream& stream) {
      stream.Write(hello());
      stream.Write(message);
    });
  }
  // That it still takes streams, after what happened to it.
  void expect_works() {
    const auto before = leader_->messages.size();
    auto& one = replica("another");
    ASSERT_TRUE(run([&] { return one.open.size() == 1; }));
    one.links->send(one.leader, FlowControl{.id = 99, .cancel = true});
    EXPECT_TRUE(run([&] { return leader_->messages.size() == before + 1; }));
  }

  FakeAuthenticator nobody_;
  std::optional<TlsMaterial> tls_;
  std::optional<Replica> leader_;
  std::optional<Server> server_;
  std::list<Replica> replicas_;
};

TEST_F(WireRelay, BothEndsSayWhoTheyAre) {
  lead();
  auto& one = replica("one");
  ASSERT_TRUE(run([&] { return !one.open.empty() && !leader_->open.empty(); }));
  EXPECT_EQ(one.open.at(one.leader), "leader");
  EXPECT_EQ(leader_->open.at(leader_->last), "one");
  EXPECT_TRUE(one.problems.empty());
}

TEST_F(WireRelay, MessagesArriveAsTheyWere) {
  lead();
  auto& one = replica("one");
  ASSERT_TRUE(run([&] { return !one.open.empty() && !leader_->open.empty(); }));
  const std::vector<RelayNode> nodes{
      {.node = "a", .connected = true, .gives_flows = true},
      {.node = "b", .connected = false, .gives_flows = false}};
  FlowRequest what;
  what.request = "flows";
  what.batch_bytes = 9;
  what.namespaces = {"x"};
  const RelayRequest request{.to = {{.node = "a", .id = 5}},
                             .request = std::make_shared<FlowRequest>(what)};
  const FlowControl control{.id = 5, .cancel = true};
  const FlowBatch batch{.id = 5,
                        .items = {{.time = 3, .message = "flow"}},
                        .lost = 2,
                        .caught_up = true,
                        .last = true,
                        .code = 8,
                        .error = "why"};
  for (const RelayMessage& message :
       {RelayMessage(nodes), RelayMessage(request), RelayMessage(control),
        RelayMessage(batch)}) {
    EXPECT_TRUE(one.links->send(one.leader, message));
    EXPECT_TRUE(leader_->links->send(leader_->last, message));
  }
  for (auto* side : {&one, &*leader_}) {
    ASSERT_TRUE(run([&] { return side->messages.size() == 4; }));
    EXPECT_EQ(std::get<std::vector<RelayNode>>(side->messages[0].second),
              nodes);
    const auto& asked = std::get<RelayRequest>(side->messages[1].second);
    EXPECT_EQ(asked.to, request.to);
    EXPECT_EQ(*asked.request, what);
    EXPECT_EQ(std::get<FlowControl>(side->messages[2].second), control);
    EXPECT_EQ(std::get<FlowBatch>(side->messages[3].second), batch);
  }
}

// A request that waits goes to many nodes as one message.
TEST_F(WireRelay, ARequestIsSentOnceForManyNodes) {
  lead();
  auto& one = replica("one");
  ASSERT_TRUE(run([&] { return !one.open.empty(); }));
  FlowRequest what;
  what.request.assign(kFlowRequestBytesMax, 'x');
  const auto shared = std::make_shared<const FlowRequest>(what);
  constexpr std::uint64_t kNodes = 5'000;
  for (std::uint64_t id = 1; id <= kNodes; ++id) {
    one.links->send(
        one.leader,
        RelayRequest{.to = {{.node = "n" + std::to_string(id), .id = id}},
                     .request = shared});
  }
  std::vector<std::uint64_t> ids;
  ASSERT_TRUE(run([&] {
    for (const auto& [link, message] : std::exchange(leader_->messages, {})) {
      const auto& request = std::get<RelayRequest>(message);
      EXPECT_LE(request.to.size(), kRelayNodesMax);
      for (const auto& [node, id] : request.to) {
        EXPECT_EQ(node, "n" + std::to_string(id));
        ids.push_back(id);
      }
    }
    return ids.size() == kNodes;
  }));
  EXPECT_TRUE(std::ranges::is_sorted(ids));
}

TEST_F(WireRelay, OnlyReplicasAreLetIn) {
  lead();
  std::size_t number = 0;
  for (const std::string& token :
       {std::string(), std::string("any"), good_token() + "0",
        good_token().substr(1), replica_token("another key")}) {
    auto& stranger = replica("stranger" + std::to_string(++number), token);
    ASSERT_TRUE(run([&] { return stranger.problems.size() > 1; })) << token;
    EXPECT_TRUE(stranger.has_problem("not a replica's token"));
    EXPECT_TRUE(stranger.open.empty());
    stranger.links->set_leader(std::nullopt);
  }
  EXPECT_TRUE(leader_->open.empty());
  EXPECT_TRUE(leader_->messages.empty());
  expect_works();
}

TEST_F(WireRelay, PlainTextNeedsTheTokenOfNoKey) {
  lead(named("leader"), true, true);
  expect_works();
  auto& stranger = replica("stranger", "any");
  EXPECT_TRUE(run([&] { return stranger.has_problem("not a replica's"); }));
}

TEST_F(WireRelay, AReplicaWithoutRelaysIsToldSo) {
  lead(named("leader"), false);
  auto& one = replica("one");
  ASSERT_TRUE(run([&] { return !one.problems.empty(); }));
  EXPECT_TRUE(one.has_problem("it relays no flows"));
  EXPECT_TRUE(one.open.empty());
}

TEST_F(WireRelay, ALostStreamIsOpenedAgain) {
  lead();
  auto& one = replica("one");
  ASSERT_TRUE(run([&] { return !one.open.empty() && !leader_->open.empty(); }));
  leader_->links->end_accepted("another key");
  ASSERT_TRUE(run([&] { return one.closed.size() == 1; }));
  ASSERT_TRUE(run([&] { return leader_->closed.size() == 1; }));
  EXPECT_EQ(leader_->closed[0], "another key");
  ASSERT_TRUE(run([&] { return !one.open.empty() && !leader_->open.empty(); }));
  EXPECT_EQ(leader_->closed.size(), 1U);
}

TEST_F(WireRelay, AnotherLeaderEndsTheStream) {
  lead();
  auto& one = replica("one");
  ASSERT_TRUE(run([&] { return !one.open.empty() && !leader_->open.empty(); }));
  one.links->set_leader(std::nullopt);
  EXPECT_TRUE(one.open.empty());
  ASSERT_TRUE(run([&] { return leader_->open.empty(); }));
  EXPECT_TRUE(one.problems.empty());
  EXPECT_TRUE(one.links->send(one.leader, FlowControl{.id = 1}));
}

// It has started anew, and the end of its first stream has not been seen.
TEST_F(WireRelay, ASecondStreamOfAReplicaReplacesTheFirst) {
  lead();
  auto& one = replica("one");
  ASSERT_TRUE(run([&] { return leader_->open.size() == 1; }));
  auto& again = replica("one");
  ASSERT_TRUE(run([&] { return !again.open.empty(); }));
  EXPECT_EQ(leader_->open.size(), 1U);
  ASSERT_EQ(leader_->closed.size(), 1U);
  EXPECT_NE(leader_->closed[0].find("another stream"), std::string::npos);
  one.links->set_leader(std::nullopt);
}

TEST_F(WireRelay, TooManyStreamsAreRefused) {
  auto options = named("leader");
  options.accepted_max = 2;
  lead(options);
  replica("one");
  replica("two");
  ASSERT_TRUE(run([&] { return leader_->open.size() == 2; }));
  auto& three = replica("three");
  ASSERT_TRUE(run([&] { return three.has_problem("too many streams"); }));
  EXPECT_TRUE(three.open.empty());
  replicas_.front().links->set_leader(std::nullopt);
  EXPECT_TRUE(run([&] { return !three.open.empty(); }));
}

TEST_F(WireRelay, WhatTheOwnerRefusesEndsTheStream) {
  lead();
  auto& one = replica("one");
  ASSERT_TRUE(run([&] { return !one.open.empty() && !leader_->open.empty(); }));
  leader_->strict = true;
  one.links->send(one.leader, FlowControl{.id = 1});
  ASSERT_TRUE(run([&] { return !one.closed.empty(); }));
  EXPECT_EQ(leader_->closed[0], "not wanted");
}

TEST_F(WireRelay, ALargeBatchIsNotSent) {
  lead();
  auto& one = replica("one");
  ASSERT_TRUE(run([&] { return !one.open.empty() && !leader_->open.empty(); }));
  EXPECT_FALSE(one.links->send(one.leader, batch_of(520'000)));
  EXPECT_TRUE(one.links->send(one.leader, batch_of(400'000)));
  ASSERT_TRUE(run([&] { return !leader_->messages.empty(); }));
  EXPECT_EQ(std::get<FlowBatch>(leader_->messages[0].second).items.size(), 1U);
  EXPECT_TRUE(one.closed.empty());
}

TEST_F(WireRelay, AnOversizeMessageEndsItsStreamOnly) {
  lead(named("leader"), true, true);
  v1::RelayMessage large;
  large.mutable_flows()->add_items(std::string(2'000'000, 'x'));
  large.mutable_flows()->add_times(1);
  const auto status = raw_says(large);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(leader_->messages.empty());
  ASSERT_TRUE(run([&] { return leader_->open.empty(); }));
  EXPECT_EQ(leader_->closed.size(), 1U);
  expect_works();
}

TEST_F(WireRelay, InvalidMessagesEndTheStream) {
  lead(named("leader"), true, true);
  std::vector<v1::RelayMessage> invalid(6);
  for (std::size_t i = 0; i <= kRelayNodesMax; ++i) {
    invalid[0].mutable_nodes()->add_nodes()->set_node("n");
    auto& request = *invalid[1].mutable_request();
    request.mutable_request()->set_kind(v1::FlowRequest::KIND_STATUS);
    request.add_nodes("n");
    request.add_ids(i);
  }
  invalid[2].mutable_nodes()->add_nodes()->set_node("Not a name");
  invalid[3].mutable_request()->mutable_request()->set_kind(
      v1::FlowRequest::KIND_STATUS);
  invalid[3].mutable_request()->add_nodes("n");
  invalid[4].mutable_request()->mutable_request()->set_id(3);
  invalid[5] = hello();
  for (const auto& message : invalid) {
    leader_->closed.clear();
    EXPECT_FALSE(raw_says(message).ok());
    ASSERT_EQ(leader_->closed.size(), 1U);
    EXPECT_EQ(leader_->closed[0].find("status"), std::string::npos);
  }
  EXPECT_TRUE(leader_->messages.empty());
  expect_works();
}

TEST_F(WireRelay, MessagesOfANewerVersionArePassedOver) {
  lead(named("leader"), true, true);
  raw([&](RawStream& stream) {
    stream.Write(hello());
    v1::RelayMessage unknown;
    EXPECT_TRUE(unknown.ParseFromString(std::string("\xc2\x3e\x01x", 4)));
    stream.Write(unknown);
    v1::RelayMessage known;
    known.mutable_control()->set_id(3);
    stream.Write(known);
    stream.WritesDone();
  });
  ASSERT_EQ(leader_->messages.size(), 1U);
  EXPECT_EQ(std::get<FlowControl>(leader_->messages[0].second).id, 3U);
}

TEST_F(WireRelay, AStreamBeginsWithAHello) {
  auto options = named("leader");
  options.hello_timeout = 100ms;
  lead(options, true, true);
  const auto silent = raw([](RawStream&) {});
  EXPECT_EQ(silent.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  const auto rude = raw([](RawStream& stream) {
    v1::RelayMessage message;
    message.mutable_control()->set_id(1);
    stream.Write(message);
  });
  EXPECT_EQ(rude.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const auto other = raw([](RawStream& stream) { stream.Write(hello(2)); });
  EXPECT_EQ(other.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(leader_->open.empty());
  EXPECT_TRUE(leader_->closed.empty());
  expect_works();
}

// By hand: says hello and reads nothing until it is destroyed.
class Deaf {
 public:
  Deaf(const std::string& target, const std::string& token)
      : stub_(v1::Replication::NewStub(grpc::CreateCustomChannel(
            target, grpc::InsecureChannelCredentials(), small_windows()))) {
    context_.AddMetadata("authorization", "Bearer " + token);
    stream_ = stub_->Relay(&context_);
    stream_->Write(hello());
  }
  Deaf(const Deaf&) = delete;
  Deaf& operator=(const Deaf&) = delete;
  Deaf(Deaf&&) = delete;
  Deaf& operator=(Deaf&&) = delete;
  ~Deaf() {
    context_.TryCancel();
    stream_->Finish();
  }

 private:
  static grpc::ChannelArguments small_windows() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    return arguments;
  }

  std::unique_ptr<v1::Replication::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<RawStream> stream_;
};

TEST_F(WireRelay, AReplicaThatDoesNotReadIsGivenUp) {
  auto options = named("leader");
  options.write_patience = 300ms;
  options.waiting_max = 4'000'000;
  lead(options, true, true);
  const Deaf deaf(target("").target, good_token());
  ASSERT_TRUE(run([&] { return !leader_->open.empty(); }));
  const auto link = leader_->last;
  std::size_t sent = 0;
  while (sent < 1'000 && leader_->links->send(link, batch_of(100'000))) {
    ++sent;
  }
  EXPECT_LT(sent, 100U);
  EXPECT_TRUE(leader_->links->send(link, {FlowBatch{.last = true}}))
      << "there is room for the end of a request";
  // However much the connection holds.
  ASSERT_TRUE(run([&] {
    leader_->links->send(link, batch_of(100'000));
    return leader_->open.empty();
  }));
  EXPECT_EQ(leader_->closed,
            std::vector<std::string>{"the other replica does not read"});
  expect_works();
}

TEST_F(WireRelay, WhatMustBeSentIsBoundedToo) {
  auto options = named("leader");
  options.waiting_max = 100'000;
  lead(options, true, true);
  const Deaf deaf(target("").target, good_token());
  ASSERT_TRUE(run([&] { return !leader_->open.empty(); }));
  for (int i = 0; i < 100'000; ++i) {
    EXPECT_TRUE(leader_->links->send(leader_->last, FlowControl{.id = 1}));
  }
  ASSERT_TRUE(run([&] { return leader_->open.empty(); }));
  EXPECT_EQ(leader_->closed,
            std::vector<std::string>{"too much waits for the other replica"});
  expect_works();
}

}  // namespace
}  // namespace sluice::wire::test
