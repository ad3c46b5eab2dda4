// SPDX-License-Identifier: Apache-2.0
#include "operator/program/page_answers.h"

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/kube/api/event.h"
#include "lib/kube/api/resource.h"

// What the page is told of a cluster, and what it costs the loop.
namespace sluice::operatord {
namespace {

using testing::HasSubstr;

class PageAnswersTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = Loop::create();
    ASSERT_TRUE(loop) << loop.error().message;
    loop_ = std::move(*loop);
    answers_.emplace(*loop_, translator_, store_);
  }
  void add_pods(const std::string& ns, int count, int nodes) {
    for (int i = 0; i < count; ++i) {
      kube::Pod pod;
      pod.ns = ns;
      pod.name = "p" + std::to_string(i);
      pod.node = "n" + std::to_string(i % nodes);
      pod.ips = {*parse_ip("10.0." + std::to_string(i / 250) + "." +
                           std::to_string((i % 250) + 1))};
      kube::Event event;
      event.resource = &kube::pods();
      event.ns = ns;
      event.name = pod.name;
      event.uid = "u";
      event.resource_version = "1";
      event.object = std::move(pod);
      store_.take(event);
    }
  }
  using Reply = QueryServer::Reply;
  static QueryServer::Question question(const std::string& path,
                                        QueryServer::Arguments arguments = {}) {
    return {.path = path,
            .request = {},
            .arguments = std::move(arguments),
            .until = QueryServer::Clock::now() + std::chrono::hours(1)};
  }
  void ask(const std::string& ns, std::optional<Reply>& answer) {
    answers_->ask(question("/api/reach", {{"namespace", ns}, {"port", "80"}}),
                  [&](Reply reply) { answer = std::move(reply); });
  }
  Reply matrix(const std::string& ns) {
    std::optional<Reply> answer;
    ask(ns, answer);
    while (!answer) {
      loop_->wait(std::chrono::milliseconds(100));
    }
    return std::move(*answer);
  }

  policy::Translator translator_;
  op::ClusterStore store_{translator_, "sluice-system"};
  std::unique_ptr<Loop> loop_;
  std::optional<PageAnswers> answers_;  // destroyed before the loop
};

TEST_F(PageAnswersTest, NamespacesAreThoseOfPods) {
  add_pods("shop", 1, 1);
  std::string text;
  answers_->ask(question("/api/namespaces"),
                [&](const Reply& reply) { text = reply.text; });
  EXPECT_EQ(text, R"({"namespaces":["shop"]})");
}

TEST_F(PageAnswersTest, AMatrixThatIsTooLargeIsRefusedWithItsSize) {
  add_pods("few", 100, 100);
  EXPECT_THAT(matrix("few").text, HasSubstr(R"("ports":["80/TCP"])"));
  add_pods("wide", 101, 101);
  EXPECT_THAT(matrix("wide").text, HasSubstr("wide has 101 pods on 101 nodes"));
  add_pods("many", 2'001, 1);
  EXPECT_THAT(matrix("many").text, HasSubstr("many has 2001 pods on 1 nodes"));
}

TEST_F(PageAnswersTest, AMatrixThatNobodyWaitsForIsNotMade) {
  add_pods("shop", 1, 1);
  auto late = question("/api/reach", {{"namespace", "shop"}, {"port", "80"}});
  late.until = QueryServer::Clock::now();
  std::optional<Reply> answer;
  answers_->ask(late, [&](Reply reply) { answer = std::move(reply); });
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 503);
}

TEST_F(PageAnswersTest, TheLoopDoesOtherWorkBetweenTwoMatrices) {
  add_pods("shop", 100, 50);
  std::optional<Reply> first;
  std::optional<Reply> second;
  std::optional<Reply> third;
  ask("shop", first);
  ask("shop", second);
  ask("shop", third);
  EXPECT_TRUE(first);
  EXPECT_FALSE(second) << "in the same turn";
  while (!second) {
    EXPECT_FALSE(third);
    loop_->wait(std::chrono::milliseconds(100));
  }
  while (!third) {
    loop_->wait(std::chrono::milliseconds(100));
  }
  EXPECT_EQ(first->status, 200);
  EXPECT_EQ(first->text, third->text);
}

}  // namespace
}  // namespace sluice::operatord
