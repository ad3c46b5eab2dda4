// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/wire/codec.h"
#include "tests/unit/wire/world.h"

namespace sluice::wire::test {
namespace {

using ::testing::HasSubstr;

Question explain_question(std::uint64_t id) {
  Question question;
  question.id = id;
  question.explain = true;
  question.from = "x/a";
  question.to = "10.0.0.2";
  question.port = "80/TCP";
  return question;
}

class WireQuestion : public ::testing::Test {
 protected:
  void begin(const ServerOptions& options = Operator::plain()) {
    op.emplace(options);
    agent.emplace(Agent::plain(*op, folder));
    ASSERT_TRUE(run([&] { return !op->snapshot_needed.empty(); }));
    op->send_snapshot("a", 1, make_state(3));
    ASSERT_TRUE(run([&] { return op->acks["a"].received == 1; }));
  }
  bool run(const std::function<bool()>& done) {
    return run_until({&*op}, {&*agent}, done, 60s);
  }

  TemporaryFolder folder;
  std::optional<Operator> op;
  std::optional<Agent> agent;
};

TEST_F(WireQuestion, ReachesTheOperatorAndItsAnswerTheAgent) {
  begin();
  ASSERT_TRUE(agent->client->ask(explain_question(7)));
  Question names;
  names.id = 8;
  names.addresses = {*parse_ip("10.0.0.1"), *parse_ip("fd00::1")};
  ASSERT_TRUE(agent->client->ask(names));
  ASSERT_TRUE(run([&] { return op->questions.size() == 2; }));
  EXPECT_EQ(op->questions[0], explain_question(7));
  EXPECT_EQ(op->questions[1], names);
  const Answer first{
      .id = 8, .error = {}, .explanation = {}, .names = {"x/a", ""}};
  const Answer second{.id = 7, .error = "no", .explanation = "{}", .names = {}};
  op->server->answer("a", first);
  op->server->answer("a", second);
  op->server->answer("b", second);  // nobody
  ASSERT_TRUE(run([&] { return agent->answers.size() == 2; }));
  EXPECT_EQ(agent->answers[0], first);
  EXPECT_EQ(agent->answers[1], second);
}

TEST_F(WireQuestion, OnlySoManyASecondAreTaken) {
  auto options = Operator::plain();
  options.questions_per_second = 0.001;  // one, and no other in this test
  begin(options);
  for (std::uint64_t id = 1; id <= 4; ++id) {
    ASSERT_TRUE(agent->client->ask(explain_question(id)));
  }
  ASSERT_TRUE(run([&] { return agent->answers.size() == 3; }));
  EXPECT_EQ(op->questions.size(), 1U);
  for (const auto& answer : agent->answers) {
    EXPECT_THAT(answer.error, HasSubstr("too many questions"));
  }
}

TEST_F(WireQuestion, WhatIsBeyondTheLimitsIsAnsweredWithAnError) {
  begin();
  auto question = explain_question(1);
  question.to.assign(kQuestionTextMax + 1, 'x');
  ASSERT_TRUE(agent->client->ask(question));
  ASSERT_TRUE(run([&] { return agent->answers.size() == 1; }));
  EXPECT_THAT(agent->answers[0].error, HasSubstr("bytes"));
  v1::Question names;
  names.mutable_names()->add_addresses("123");
  EXPECT_FALSE(decode(names).has_value());
  names.mutable_names()->clear_addresses();
  for (std::size_t i = 0; i <= kQuestionAddressesMax; ++i) {
    names.mutable_names()->add_addresses("1234");
  }
  EXPECT_FALSE(decode(names).has_value());
  EXPECT_FALSE(decode(v1::Question()).has_value()) << "of a newer kind";
  EXPECT_TRUE(op->questions.empty());
  EXPECT_TRUE(op->refused.empty());
}

TEST_F(WireQuestion, IsNotAskedWithoutAConnection) {
  begin();
  op->server->disconnect("a", "test");
  ASSERT_TRUE(run([&] { return !agent->client->stats().connected; }));
  EXPECT_FALSE(agent->client->ask(explain_question(1)));
}

TEST_F(WireQuestion, PoliciesGoFirst) {
  begin();
  agent->acknowledges = false;
  ASSERT_TRUE(agent->client->ask(explain_question(1)));
  ASSERT_TRUE(run([&] { return op->questions.size() == 1; }));
  op->server->send("a", make_change(2, 0, 9));
  op->server->answer("a",
                     {.id = 1, .error = {}, .explanation = "{}", .names = {}});
  ASSERT_TRUE(run([&] { return agent->answers.size() == 1; }));
  EXPECT_EQ(agent->transactions, 1);
}

}  // namespace
}  // namespace sluice::wire::test
