// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "lib/base/fd.h"
#include "lib/wire/codec.h"
#include "tests/unit/wire/raw_channel.h"
#include "tests/unit/wire/world.h"
#include "wire.grpc.pb.h"

// Agents and operators that do not keep to the contract.
namespace sluice::wire::test {
namespace {

using RawStream = grpc::ClientReaderWriter<v1::FromAgent, v1::FromOperator>;

// An agent by hand, in a thread of its own; the test's thread runs the server.
grpc::Status raw_agent(Operator& op, const std::function<void(RawStream&)>& act,
                       const std::string& token = "any") {
  grpc::Status status;
  std::atomic<bool> done = false;
  std::thread thread([&] {
    auto stub = v1::Distribution::NewStub(raw_channel(op.target()));
    grpc::ClientContext context;
    prepare(context, token, 10s);
    const auto stream = stub->Subscribe(&context);
    status = play<v1::FromOperator>(*stream, act);
    done = true;
  });
  EXPECT_TRUE(run_until({&op}, {}, [&] { return done.load(); }, 15s));
  thread.join();
  return status;
}

v1::FromAgent hello(std::uint32_t major = 1, const std::string& node = "a") {
  v1::FromAgent message;
  message.mutable_hello()->mutable_version()->set_major(major);
  message.mutable_hello()->set_node(node);
  return message;
}

// That the operator still serves, after what happened to it.
void expect_serves(Operator& op) {
  const TemporaryFolder folder;
  Agent agent(Agent::plain(op, folder));
  const auto asked = op.snapshot_needed.size();
  ASSERT_TRUE(run_until({&op}, {&agent},
                        [&] { return op.snapshot_needed.size() > asked; }));
  op.send_snapshot("a", 1, make_state(2));
  EXPECT_TRUE(
      run_until({&op}, {&agent}, [&] { return op.acks["a"].received == 1; }));
}

TEST(WireHostileAgent, OtherMajorVersionIsToldSo) {
  Operator op;
  const auto status =
      raw_agent(op, [](RawStream& stream) { stream.Write(hello(2)); });
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_NE(status.error_message().find("version 2.0"), std::string::npos);
  EXPECT_NE(status.error_message().find("major"), std::string::npos);
  EXPECT_TRUE(op.connected.empty());
  expect_serves(op);
}

TEST(WireHostileAgent, OlderAndNewerMinorVersionsAreServed) {
  for (const std::uint32_t minor : {0U, 1U}) {
    Operator op;
    v1::FromOperator welcome;
    const auto status = raw_agent(op, [&](RawStream& stream) {
      // As one that knows nothing but its name, or that says more than we know.
      v1::FromAgent message = hello();
      message.mutable_hello()->mutable_version()->set_minor(minor);
      if (minor > 0) {
        const std::string extra("\xc0\x3e\x2a", 3);
        message.mutable_hello()->ParseFromString(
            message.hello().SerializeAsString() + extra);
      }
      stream.Write(message);
      stream.Read(&welcome);
      if (minor > 0) {
        v1::FromAgent unknown;  // a message of a kind that we do not know
        unknown.ParseFromString(std::string("\xc2\x3e\x01x", 4));
        stream.Write(unknown);
      }
      stream.WritesDone();
    });
    EXPECT_TRUE(welcome.has_welcome());
    EXPECT_EQ(welcome.welcome().version().major(), 1U);
    EXPECT_EQ(op.connected.size(), 1U);
    EXPECT_TRUE(op.refused.empty());
    EXPECT_NE(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
}

// How many requests for flows an agent of that version is sent, if it is asked
// for some.
std::ptrdiff_t requests_sent(std::uint32_t minor, bool& asked) {
  Operator op;
  std::vector<v1::FromOperator> sent;
  std::atomic<bool> done = false;
  std::thread thread([&] {
    const auto stub = v1::Distribution::NewStub(
        grpc::CreateChannel(op.target(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 30s);
    context.AddMetadata("authorization", "Bearer any");
    const auto stream = stub->Subscribe(&context);
    auto message = hello();
    message.mutable_hello()->mutable_version()->set_minor(minor);
    stream->Write(message);
    v1::FromOperator next;
    while (stream->Read(&next)) {
      sent.push_back(next);
    }
    (void)stream->Finish();
    done = true;
  });
  bool over = false;
  EXPECT_TRUE(run_until({&op}, {}, [&] {
    if (!op.connected.empty() && !std::exchange(over, true)) {
      asked = op.server->request_flows("a", 1,
                                       std::make_shared<const FlowRequest>());
    }
    // Besides welcome and settings.
    if (over && op.server->stats().messages_sent >= (asked ? 3U : 2U)) {
      op.server->disconnect("a", "over");
    }
    return done.load();
  }));
  thread.join();
  return std::ranges::count_if(sent, [](const v1::FromOperator& message) {
    return message.has_flow_request();
  });
}

TEST(WireHostileAgent, AnOlderAgentIsNotAskedForFlows) {
  bool asked = true;
  EXPECT_EQ(requests_sent(kFlowsSince - 1, asked), 0);
  EXPECT_FALSE(asked);
  EXPECT_EQ(requests_sent(kFlowsSince, asked), 1);
  EXPECT_TRUE(asked);
}

TEST(WireHostileAgent, BadFirstMessages) {
  Operator op;
  v1::FromAgent progress;
  progress.mutable_progress()->set_received(1);
  for (const auto& message :
       {v1::FromAgent{}, progress, hello(0), hello(1, ""), hello(1, "a/b"),
        hello(1, std::string(300, 'a'))}) {
    const auto status =
        raw_agent(op, [&](RawStream& stream) { stream.Write(message); });
    EXPECT_FALSE(status.ok());
    EXPECT_NE(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  EXPECT_TRUE(op.connected.empty());
  EXPECT_EQ(op.refused.size(), 6U);
  expect_serves(op);
}

TEST(WireHostileAgent, SecondHelloAndFalseProgress) {
  Operator op;
  const auto twice = raw_agent(op, [](RawStream& stream) {
    stream.Write(hello());
    stream.Write(hello());
  });
  EXPECT_EQ(twice.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  v1::FromAgent progress;
  progress.mutable_progress()->set_received(1);
  progress.mutable_progress()->set_applied(2);
  const auto wrong = raw_agent(op, [&](RawStream& stream) {
    stream.Write(hello());
    stream.Write(progress);
  });
  EXPECT_EQ(wrong.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(op.acks.empty());
  expect_serves(op);
}

TEST(WireHostileAgent, AddressesThatAreNone) {
  Operator op;
  v1::FromAgent many;
  for (std::size_t i = 0; i <= kNodeAddressesMax; ++i) {
    many.mutable_addresses()->add_addresses("1234");
  }
  v1::FromAgent odd;
  odd.mutable_addresses()->add_addresses("12345");
  v1::FromAgent empty;
  empty.mutable_addresses()->add_addresses();
  for (const auto& bad : {many, odd, empty}) {
    const auto status = raw_agent(op, [&](RawStream& stream) {
      stream.Write(hello());
      stream.Write(bad);
    });
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_NE(status.error_message().find("addresses of a node"),
              std::string::npos);
  }
  EXPECT_TRUE(op.addresses.empty());
  // Before it is known who the agent is.
  const auto early = raw_agent(op, [&](RawStream& stream) {
    v1::FromAgent message;
    message.mutable_addresses()->add_addresses("1234");
    stream.Write(message);
  });
  EXPECT_EQ(early.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(op.addresses.empty());
  expect_serves(op);
}

TEST(WireHostileAgent, HelloThatNeverComes) {
  auto options = Operator::plain();
  options.hello_timeout = 200ms;
  Operator op(options);
  const auto status = raw_agent(op, [](RawStream&) {});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(status.error_message(), "no hello in time");
  expect_serves(op);
}

TEST(WireHostileAgent, HugeMessageAndHugeToken) {
  Operator op;
  const auto huge = raw_agent(op, [](RawStream& stream) {
    auto message = hello();
    message.mutable_hello()->set_program_version(std::string(50 << 20, 'x'));
    stream.Write(message);
  });
  EXPECT_FALSE(huge.ok());
  const auto token = raw_agent(
      op, [](RawStream& stream) { stream.Write(hello()); },
      std::string(1 << 20, 't'));
  EXPECT_FALSE(token.ok());
  EXPECT_TRUE(op.connected.empty());
  expect_serves(op);
}

TEST(WireHostileAgent, ManyStreamsThatSayNothing) {
  auto options = Operator::plain();
  options.unknown_streams_max = 4;
  Operator op(options);
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<RawStream>> streams;
  for (int i = 0; i < 10; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channels.push_back(grpc::CreateCustomChannel(
        op.target(), grpc::InsecureChannelCredentials(), arguments));
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    streams.push_back(v1::Distribution::NewStub(channels.back())
                          ->Subscribe(contexts.back().get()));
  }
  ASSERT_TRUE(
      run_until({&op}, {}, [&] { return op.server->stats().refused == 6; }));
  EXPECT_EQ(op.server->stats().streams, 4U);
  for (auto& context : contexts) {
    context->TryCancel();
  }
  for (auto& stream : streams) {
    stream->Finish();
  }
  ASSERT_TRUE(
      run_until({&op}, {}, [&] { return op.server->stats().streams == 0; }));
  expect_serves(op);
}

// Bytes that are no HTTP/2 at all.
TEST(WireHostileAgent, GarbageOnTheSocket) {
  Operator op;
  std::vector<Fd> sockets;
  for (int i = 0; i < 50; ++i) {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(op.server->port()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(
        ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)),
        0);
    const std::string garbage(1000, static_cast<char>(i * 5));
    ::send(fd.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL);
    sockets.push_back(std::move(fd));
  }
  expect_serves(op);
}

// Says to every agent what the test has it say.
class FalseOperator final : public v1::Distribution::Service {
 public:
  using Act = std::function<void(
      grpc::ServerReaderWriter<v1::FromOperator, v1::FromAgent>&)>;
  explicit FalseOperator(Act act) : act_(std::move(act)) {
    grpc::ServerBuilder builder;
    builder.SetMaxSendMessageSize(-1);
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FalseOperator() override {
    server_->Shutdown(std::chrono::system_clock::now());
  }
  FalseOperator(const FalseOperator&) = delete;
  FalseOperator& operator=(const FalseOperator&) = delete;
  FalseOperator(FalseOperator&&) = delete;
  FalseOperator& operator=(FalseOperator&&) = delete;

  grpc::Status Subscribe(
      grpc::ServerContext* /*context*/,
      grpc::ServerReaderWriter<v1::FromOperator, v1::FromAgent>* stream)
      override {
    act_(*stream);
    v1::FromAgent message;
    while (stream->Read(&message)) {
    }
    return grpc::Status::OK;
  }
  [[nodiscard]] ClientOptions client(const TemporaryFolder& folder) const {
    ClientOptions options;
    options.target = "127.0.0.1:" + std::to_string(port_);
    options.node = "a";
    options.plain_text = true;
    options.token_file = folder.file("token", "any");
    options.backoff_first = 10ms;
    options.backoff_max = 50ms;
    options.welcome_timeout = 1s;
    return options;
  }

 private:
  Act act_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

v1::FromOperator welcome(std::uint32_t major = 1, bool resumed = false) {
  v1::FromOperator message;
  message.mutable_welcome()->mutable_version()->set_major(major);
  message.mutable_welcome()->set_resumed(resumed);
  return message;
}

v1::FromOperator chunk(Encoder encoder) {
  v1::FromOperator message;
  encoder.next(1 << 30, *message.mutable_chunk());
  return message;
}

// Lets an agent meet such an operator again and again; it must take nothing
// from it, and say why.
void expect_refused(const FalseOperator::Act& act, const std::string& why) {
  const TemporaryFolder folder;
  const FalseOperator op(act);
  Agent agent(op.client(folder));
  EXPECT_TRUE(run_until({}, {&agent}, [&] {
    return agent.problems.size() >= 3;
  })) << why;
  EXPECT_EQ(agent.snapshots, 0);
  EXPECT_EQ(agent.transactions, 0);
  for (const auto& problem : agent.problems) {
    EXPECT_NE(problem.find(why), std::string::npos) << problem;
  }
}

TEST(WireHostileOperator, OtherMajorVersion) {
  expect_refused([](auto& stream) { stream.Write(welcome(2)); }, "version 2");
}

TEST(WireHostileOperator, NoWelcome) {
  expect_refused([](auto&) {}, "no welcome in time");
}

TEST(WireHostileOperator, SomethingElseThanAWelcome) {
  expect_refused(
      [](auto& stream) {
        stream.Write(
            chunk({1, 1, std::make_shared<const State>(make_state(1))}));
      },
      "did not begin with a welcome");
}

TEST(WireHostileOperator, ResumesWhatWasNeverBegun) {
  expect_refused([](auto& stream) { stream.Write(welcome(1, true)); },
                 "never begun");
}

TEST(WireHostileOperator, TransactionWithoutASnapshot) {
  expect_refused(
      [](auto& stream) {
        stream.Write(welcome());
        stream.Write(chunk({1, make_change(1, 0, 9)}));
      },
      "does not follow");
}

TEST(WireHostileOperator, SnapshotThatIsNotValid) {
  expect_refused(
      [](auto& stream) {
        stream.Write(welcome());
        auto message =
            chunk({1, 1, std::make_shared<const State>(make_state(100))});
        message.mutable_chunk()->mutable_peers()->set_length4(50, 77);
        stream.Write(message);
      },
      "prefix length 77");
}

TEST(WireHostileOperator, FiftyMegabytes) {
  v1::FromOperator message;
  message.mutable_chunk()->add_strings(std::string(50 << 20, 'x'));
  expect_refused(
      [&](auto& stream) {
        stream.Write(welcome());
        stream.Write(message);
      },
      "resource exhausted");
}

TEST(WireHostileOperator, SnapshotWithoutAnEnd) {
  const TemporaryFolder folder;
  const FalseOperator op([](auto& stream) {
    stream.Write(welcome());
    Encoder encoder(1, 1, std::make_shared<const State>(make_state(5000)));
    v1::FromOperator first;
    encoder.next(1000, *first.mutable_chunk());
    while (stream.Write(first)) {
      first.mutable_chunk()->set_index(first.chunk().index() + 1);
    }
  });
  auto options = op.client(folder);
  options.update_bytes_max = 200'000;
  Agent agent(options);
  EXPECT_TRUE(
      run_until({}, {&agent}, [&] { return agent.problems.size() >= 2; }));
  EXPECT_EQ(agent.snapshots, 0);
  EXPECT_NE(agent.problems[0].find("200000 bytes"), std::string::npos);
}

TEST(WireHostileOperator, GoodViewSurvivesGarbageAfterIt) {
  const TemporaryFolder folder;
  const auto state = make_state(4);
  const FalseOperator op([&](auto& stream) {
    stream.Write(welcome());
    stream.Write(chunk({1, 1, std::make_shared<const State>(state)}));
    auto message = chunk({1, make_change(2, 0, 9)});
    message.mutable_chunk()->mutable_peers()->clear_length4();
    stream.Write(message);
  });
  Agent agent(op.client(folder));
  EXPECT_TRUE(run_until({}, {&agent}, [&] { return agent.snapshots >= 3; }))
      << "each connection gives it again: nothing else is trusted any more";
  EXPECT_TRUE(same(agent.state, state));
  EXPECT_EQ(agent.transactions, 0);
}

}  // namespace
}  // namespace sluice::wire::test
