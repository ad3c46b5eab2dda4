// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/wire/codec.h"
#include "tests/unit/wire/one_agent.h"
#include "tests/unit/wire/world.h"

namespace sluice::wire::test {
namespace {

using ::testing::HasSubstr;

Question explain_question(std::uint64_t id) {
  Question question;
  question.id = id;
  question.kind = Question::Kind::kExplain;
  question.from = "x/a";
  question.to = "10.0.0.2";
  question.port = "80/TCP";
  return question;
}

class WireQuestion : public OneAgentTest {};

TEST_F(WireQuestion, ReachesTheOperatorAndItsAnswerTheAgent) {
  begin();
  ASSERT_TRUE(agent->client->ask(explain_question(7)));
  Question names;
  names.id = 8;
  names.addresses = {*parse_ip("10.0.0.1"), *parse_ip("fd00::1")};
  ASSERT_TRUE(agent->client->ask(names));
  const Question warnings{.id = 9, .kind = Question::Kind::kWarnings};
  ASSERT_TRUE(agent->client->ask(warnings));
  const Question ends{.id = 10,
                      .kind = Question::Kind::kEnds,
                      .addresses = {*parse_ip("10.0.0.1")}};
  ASSERT_TRUE(agent->client->ask(ends));
  ASSERT_TRUE(run([&] { return op->questions.size() == 4; }));
  EXPECT_EQ(op->questions[3], ends);
  EXPECT_EQ(op->questions[0], explain_question(7));
  EXPECT_EQ(op->questions[1], names);
  EXPECT_EQ(op->questions[2], warnings);
  const Answer first{
      .id = 8, .error = {}, .explanation = {}, .names = {"x/a", ""}};
  const Answer second{.id = 7, .error = "no", .explanation = "{}", .names = {}};
  op->server->answer("a", first);
  op->server->answer("a", second);
  op->server->answer("b", second);  // nobody
  Answer third;
  third.id = 9;
  third.warnings = {{.policy = "NetworkPolicy/x/p", .warnings = {"a", "b"}},
                    {.policy = "NetworkPolicy/x/q", .warnings = {"c"}}};
  op->server->answer("a", third);
  Answer fourth;
  fourth.id = 10;
  fourth.ends = {"any bytes", ""};
  op->server->answer("a", fourth);
  ASSERT_TRUE(run([&] { return agent->answers.size() == 4; }));
  EXPECT_EQ(agent->answers[3], fourth);
  EXPECT_EQ(agent->answers[2], third);
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
