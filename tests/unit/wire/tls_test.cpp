// SPDX-License-Identifier: Apache-2.0
#include "lib/wire/tls.h"

#include <gtest/gtest.h>

#include "tests/unit/wire/world.h"

namespace sluice::wire::test {
namespace {

constexpr std::chrono::hours kYear{24 * 365};

TlsMaterial material(const std::string& name = "operator.test") {
  auto made = make_self_signed_ca_and_server_cert({name}, kYear);
  EXPECT_TRUE(made) << made.error().message;
  return made ? std::move(*made) : TlsMaterial{};
}

ServerOptions with_certificate(const TlsCertificate& certificate) {
  auto options = Operator::plain();
  options.plain_text = false;
  options.certificate = certificate;
  return options;
}

ClientOptions with_ca(const Operator& op, const TemporaryFolder& folder,
                      const std::string& ca, const std::string& token = "any") {
  auto options = Agent::plain(op, folder, token);
  options.plain_text = false;
  options.server_name = "operator.test";
  options.ca_file = folder.file("ca.crt", ca);
  return options;
}

bool connects(Operator& op, Agent& agent) {
  return run_until({&op}, {&agent}, [&] { return !agent.connects.empty(); });
}
// Until a try has failed for a reason that contains `why`.
bool fails(Operator& op, Agent& agent, const std::string& why) {
  return run_until({&op}, {&agent}, [&] {
    return !agent.problems.empty() &&
           agent.problems.back().find(why) != std::string::npos;
  });
}

TEST(WireTls, MaterialIsValidForItsNamesAndTime) {
  const auto made = make_self_signed_ca_and_server_cert(
      {"operator.test", "sluice-operator.kube-system.svc", "10.0.0.1", "::1"},
      kYear);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_TRUE(check_certificate(made->server));
  const auto end = not_after(made->server.certificate_pem);
  ASSERT_TRUE(end);
  const auto left = *end - std::chrono::system_clock::now();
  EXPECT_GT(left, kYear - std::chrono::hours(1));
  EXPECT_LE(left, kYear);
}

TEST(WireTls, BadMaterialIsRefused) {
  EXPECT_FALSE(make_self_signed_ca_and_server_cert({}, kYear));
  EXPECT_FALSE(make_self_signed_ca_and_server_cert({"a,DNS:b"}, kYear));
  EXPECT_FALSE(make_self_signed_ca_and_server_cert({""}, kYear));
  const auto one = material();
  const auto two = material();
  EXPECT_FALSE(check_certificate({.certificate_pem = one.server.certificate_pem,
                                  .key_pem = two.server.key_pem}));
  EXPECT_FALSE(check_certificate(
      {.certificate_pem = "garbage", .key_pem = one.server.key_pem}));
  EXPECT_FALSE(check_certificate(
      {.certificate_pem = one.server.certificate_pem, .key_pem = ""}));
  EXPECT_FALSE(not_after("garbage"));
}

TEST(WireTls, ServerNeedsACertificateOrAnExplicitFlag) {
  auto options = Operator::plain();
  options.plain_text = false;
  FakeAuthenticator authenticator;
  EXPECT_FALSE(Server::start(options, {}, authenticator));
  EXPECT_FALSE(Client::start({.target = "x:1", .node = "a"}, {}));
}

TEST(WireTls, AgentThatTrustsTheCaConnects) {
  const TemporaryFolder folder;
  const auto tls = material();
  Operator op(with_certificate(tls.server));
  Agent agent(with_ca(op, folder, tls.ca_pem));
  ASSERT_TRUE(connects(op, agent));
  EXPECT_EQ(op.authenticator.asked, 1);
}

TEST(WireTls, AgentThatTrustsAnotherCaDoesNotSendItsToken) {
  const TemporaryFolder folder;
  Operator op(with_certificate(material().server));
  Agent agent(with_ca(op, folder, material().ca_pem));
  ASSERT_TRUE(fails(op, agent, "unavailable"));
  EXPECT_EQ(op.authenticator.asked, 0);
}

TEST(WireTls, EmptyCaFileTrustsNobody) {
  const TemporaryFolder folder;
  Operator op(with_certificate(material().server));
  for (const char* text : {"", "garbage"}) {
    Agent agent(with_ca(op, folder, text));
    ASSERT_TRUE(fails(op, agent, "holds no certificate"));
  }
}

TEST(WireTls, CertificateOfAnotherNameIsRefused) {
  const TemporaryFolder folder;
  const auto tls = material("other.test");
  Operator op(with_certificate(tls.server));
  Agent agent(with_ca(op, folder, tls.ca_pem));
  ASSERT_TRUE(fails(op, agent, "unavailable"));
  EXPECT_EQ(op.authenticator.asked, 0);
}

TEST(WireTls, PlainTextClientIsRefused) {
  const TemporaryFolder folder;
  Operator op(with_certificate(material().server));
  Agent agent(Agent::plain(op, folder));
  ASSERT_TRUE(fails(op, agent, "unavailable"));
  EXPECT_EQ(op.authenticator.asked, 0);
}

TEST(WireTls, NewCertificateIsUsedForNewConnections) {
  const TemporaryFolder folder;
  const auto old = material();
  const auto renewed = material();
  Operator op(with_certificate(old.server));
  Agent agent(with_ca(op, folder, old.ca_pem));
  ASSERT_TRUE(connects(op, agent));
  EXPECT_FALSE(op.server->set_certificate(
      {.certificate_pem = "x", .key_pem = renewed.server.key_pem}));
  ASSERT_TRUE(op.server->set_certificate(renewed.server));
  // The mounted CA follows; it is read at every connect.
  static_cast<void>(folder.file("ca.crt", renewed.ca_pem));
  op.server->disconnect("a", "test");
  ASSERT_TRUE(
      run_until({&op}, {&agent}, [&] { return agent.connects.size() == 2; }));
}

TEST(WireTls, TokenDecides) {
  const TemporaryFolder folder;
  const auto tls = material();
  Operator op(with_certificate(tls.server));
  {
    Agent agent(with_ca(op, folder, tls.ca_pem, "wrong"));
    ASSERT_TRUE(fails(op, agent, "the token is not accepted"));
  }
  {
    Agent agent(with_ca(op, folder, tls.ca_pem, "of-b"));
    ASSERT_TRUE(fails(op, agent, "permission denied"));
  }
  EXPECT_TRUE(op.connected.empty());
  Agent agent(with_ca(op, folder, tls.ca_pem, "of-a"));
  ASSERT_TRUE(connects(op, agent));
}

TEST(WireTls, TokenIsReadAgain) {
  const TemporaryFolder folder;
  const auto tls = material();
  Operator op(with_certificate(tls.server));
  Agent agent(with_ca(op, folder, tls.ca_pem, "expired"));
  ASSERT_TRUE(fails(op, agent, "unauthenticated"));
  static_cast<void>(folder.file("token", "of-a"));
  ASSERT_TRUE(connects(op, agent));
}

TEST(WireTls, NoTokenNoView) {
  const TemporaryFolder folder;
  const auto tls = material();
  Operator op(with_certificate(tls.server));
  auto options = with_ca(op, folder, tls.ca_pem);
  options.token_file.clear();
  Agent agent(options);
  ASSERT_TRUE(fails(op, agent, "the token is not accepted"));
  // A file that is not there, or holds no token, is told and tried again.
  options.token_file = "/nonexistent/token";
  Agent other(options);
  ASSERT_TRUE(fails(op, other, "/nonexistent/token"));
}

TEST(WireTls, AnswerThatComesLateOrAfterTheEndHarmsNobody) {
  const TemporaryFolder folder;
  auto options = Operator::plain();
  options.hello_timeout = 100ms;
  std::vector<Authenticator::Done> waiting;
  {
    Operator op(options);
    Agent agent(Agent::plain(op, folder, "later"));
    ASSERT_TRUE(fails(op, agent, "the token could not be checked in time"));
    ASSERT_FALSE(op.authenticator.waiting.empty());
    waiting = op.authenticator.waiting;
    waiting[0]({.allowed = true, .node = {}, .error = {}});
    ASSERT_TRUE(
        run_until({&op}, {&agent}, [&] { return agent.problems.size() > 1; }));
    EXPECT_TRUE(op.connected.empty());
    waiting = op.authenticator.waiting;
  }
  for (const auto& done : waiting) {
    done({.allowed = true, .node = {}, .error = {}});
  }
}

}  // namespace
}  // namespace sluice::wire::test
