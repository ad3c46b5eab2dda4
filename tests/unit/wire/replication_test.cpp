// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/replication.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>

#include "lib/wire/tls.h"
#include "tests/unit/wire/world.h"

namespace sluice::wire::test {
namespace {

NodeReport report_of(const std::string& node, std::uint64_t version) {
  return {
      .node = node,
      .connected = true,
      .in_force = {version, 1, 2, 3},
      .held = {{.ns = "big", .kind = 2, .version = 7}},
      .failures = {{.policy_set = 0, .endpoint = "x/a", .message = "full"}}};
}

// One replica that leads, and others that report to it.
class WireReplication : public testing::Test {
 protected:
  struct Received {
    std::string replica;
    bool first = false;
    std::vector<NodeReport> nodes;
  };

  WireReplication()
      : tls_(*make_self_signed_ca_and_server_cert({"operator.test"},
                                                  std::chrono::hours(1))) {
    ServerOptions options;
    options.address = "127.0.0.1:0";
    options.certificate = tls_.server;
    options.replica_token = replica_token(tls_.server.key_pem);
    Server::Handlers handlers;
    handlers.on_report = [this](const std::string& replica, bool first,
                                const std::vector<NodeReport>& nodes) {
      received_.push_back({replica, first, nodes});
    };
    server_.emplace(
        std::move(*Server::start(options, std::move(handlers), nobody_)));
  }

  ReportSender sender(const std::string& replica, const std::string& token) {
    auto made = ReportSender::start(
        {.target = "127.0.0.1:" + std::to_string(server_->port()),
         .server_name = "operator.test",
         .ca_pem = tls_.ca_pem,
         .token = token,
         .replica = replica},
        [this](const ReportSender::Outcome& outcome) { outcome_ = outcome; });
    return std::move(*made);
  }
  ReportSender::Outcome send(ReportSender& sender,
                             const std::vector<NodeReport>& nodes) {
    outcome_.reset();
    sender.send(nodes);
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    while (!outcome_ && std::chrono::steady_clock::now() < deadline) {
      std::array<pollfd, 2> fds{
          pollfd{.fd = server_->poll_fd(), .events = POLLIN, .revents = 0},
          pollfd{.fd = sender.poll_fd(), .events = POLLIN, .revents = 0}};
      ::poll(fds.data(), fds.size(), 100);
      server_->dispatch();
      sender.dispatch();
    }
    server_->dispatch();
    return outcome_.value_or(ReportSender::Outcome{.problem = "no outcome"});
  }
  [[nodiscard]] std::string good_token() const {
    return replica_token(tls_.server.key_pem);
  }

  TlsMaterial tls_;
  FakeAuthenticator nobody_;
  std::optional<Server> server_;
  std::vector<Received> received_;
  std::optional<ReportSender::Outcome> outcome_;
};

// Its container starts anew under the same name, before anybody missed it.
TEST_F(WireReplication, AReplicaThatStartsAnewBeginsAnew) {
  const auto token = replica_token(tls_.server.key_pem);
  {
    auto before = sender("one", token);
    send(before, {report_of("n1", 1)});
    send(before, {report_of("n2", 1)});
  }
  auto after = sender("one", token);
  send(after, {report_of("n2", 2)});
  send(after, {report_of("n3", 2)});
  ASSERT_EQ(received_.size(), 4U);
  EXPECT_TRUE(received_[0].first);
  EXPECT_FALSE(received_[1].first);
  EXPECT_TRUE(received_[2].first);
  EXPECT_FALSE(received_[3].first);
}

TEST_F(WireReplication, ReportArrivesAsItWas) {
  auto replica = sender("r", good_token());
  const auto outcome = send(replica, {report_of("n1", 7), report_of("n2", 8)});
  EXPECT_EQ(outcome.problem, "");
  ASSERT_EQ(received_.size(), 1U);
  EXPECT_EQ(received_[0].replica, "r");
  EXPECT_EQ(received_[0].nodes[0], report_of("n1", 7));
  EXPECT_EQ(received_[0].nodes[1], report_of("n2", 8));
}

TEST_F(WireReplication, AddressesOfNodesGoBothWays) {
  auto replica = sender("r", good_token());
  const std::vector<IpAddress> some{*parse_ip("10.0.0.1"),
                                    *parse_ip("fd00::1")};
  auto report = report_of("n1", 7);
  report.addresses = some;
  auto empty = report_of("n2", 7);
  empty.addresses.emplace();
  EXPECT_TRUE(send(replica, {report, empty}).found.empty());
  EXPECT_EQ(received_[0].nodes, (std::vector{report, empty}));
  server_->set_found("n3", some);
  server_->set_found("n4", std::vector<IpAddress>{});
  using Found = std::vector<FoundAddresses>;
  EXPECT_EQ(send(replica, {}).found, (Found{{"n3", some}, {"n4", {}}}));
  EXPECT_TRUE(send(replica, {}).found.empty()) << "told once";
  server_->set_found("n3", std::vector{some[0]});
  server_->set_found("n4", std::nullopt);
  EXPECT_EQ(send(replica, {}).found, (Found{{"n3", {some[0]}}}));
  // One that has heard nothing yet.
  auto other = sender("other", good_token());
  EXPECT_EQ(send(other, {}).found, (Found{{"n3", {some[0]}}}));
}

TEST_F(WireReplication, ManyAddressesComeInSeveralReplies) {
  auto replica = sender("r", good_token());
  for (int i = 0; i < 250; ++i) {
    server_->set_found("n" + std::to_string(i),
                       std::vector(kNodeAddressesMax, *parse_ip("fd00::1")));
  }
  std::set<std::string> nodes;
  int replies = 0;
  for (bool more = true; more && replies < 10; ++replies) {
    const auto outcome = send(replica, {});
    EXPECT_EQ(outcome.problem, "");
    for (const auto& found : outcome.found) {
      nodes.insert(found.node);
    }
    more = outcome.more;
  }
  EXPECT_EQ(nodes.size(), 250U);
  EXPECT_EQ(replies, 3);
}

TEST_F(WireReplication, UnknownReplicaIsAskedForEverything) {
  auto one = sender("one", good_token());
  auto two = sender("two", good_token());
  EXPECT_TRUE(send(one, {}).tell_all);
  EXPECT_FALSE(send(one, {}).tell_all);
  EXPECT_TRUE(send(two, {}).tell_all);
  server_->forget_replica("one");
  EXPECT_TRUE(send(one, {}).tell_all);
  ASSERT_EQ(received_.size(), 4U);
  EXPECT_TRUE(received_[0].first);
  EXPECT_FALSE(received_[1].first);
  EXPECT_TRUE(received_[3].first);
}

TEST_F(WireReplication, OnlyReplicasMayReport) {
  for (const std::string token : {"", "any", "of-a"}) {
    auto stranger = sender("stranger", token);
    EXPECT_NE(send(stranger, {report_of("n", 1)}).problem, "") << token;
  }
  EXPECT_TRUE(received_.empty());
  auto replica = sender("r", good_token());
  server_->set_replica_token(replica_token("another key"));
  EXPECT_NE(send(replica, {}).problem, "");
  server_->set_replica_token("");
  auto nobody = sender("r", "");
  EXPECT_NE(send(nobody, {}).problem, "");
  EXPECT_TRUE(received_.empty());
}

TEST_F(WireReplication, SilentLeaderIsGivenUp) {
  server_.reset();
  auto made = ReportSender::start(
      {.target = "127.0.0.1:1",
       .server_name = "operator.test",
       .ca_pem = tls_.ca_pem,
       .token = good_token(),
       .replica = "r",
       .timeout = 500ms},
      [this](const ReportSender::Outcome& outcome) { outcome_ = outcome; });
  ASSERT_TRUE(made);
  made->send({});
  EXPECT_TRUE(made->busy());
  const auto deadline = std::chrono::steady_clock::now() + 10s;
  while (!outcome_ && std::chrono::steady_clock::now() < deadline) {
    pollfd fd{.fd = made->poll_fd(), .events = POLLIN, .revents = 0};
    ::poll(&fd, 1, 100);
    made->dispatch();
  }
  ASSERT_TRUE(outcome_);
  EXPECT_NE(outcome_->problem, "");
  EXPECT_FALSE(made->busy());
}

TEST(WireReplicaToken, IsOfTheKeyAndNothingElse) {
  EXPECT_EQ(replica_token("a"), replica_token("a"));
  EXPECT_NE(replica_token("a"), replica_token("b"));
  EXPECT_EQ(replica_token("a").size(), 64U);
}

}  // namespace
}  // namespace sluice::wire::test
