// SPDX-License-Identifier: Apache-2.0
#include "operator/program/query_server.h"

#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lib/base/read_file.h"
#include "lib/health/listener.h"
#include "operator/program/steps.h"
#include "operator/program/worker.h"
#include "tests/unit/kube/api/server.h"

// People's questions, over TLS, to sources that answer when the test says so.
namespace sluice::operatord {
namespace {

using nlohmann::json;

// The API server knows one token, that of the account.
class OperatorQueryServer : public ::testing::Test {
 protected:
  OperatorQueryServer() {
    const auto& files = kube::test::tls_files();
    server_.set_certificate({.certificate_pem = *read_file(files.certificate),
                             .key_pem = *read_file(files.key)});
    server_.turn();
  }

  struct Asked {
    kube::Call call;
    std::optional<kube::ApiResult<kube::Response>> answer;
  };
  std::shared_ptr<Asked> get(const std::string& path) {
    auto asked = std::make_shared<Asked>();
    asked->call = people_->send(
        {.path = path, .headers = {"X-Sluice-Token: good"}},
        [asked = asked.get()](kube::ApiResult<kube::Response> answer) {
          asked->answer = std::move(answer);
        });
    return asked;
  }
  bool run_until(const std::function<bool()>& holds) {
    return kube::test::run_until(*loop_, [&] {
      server_.turn();
      return holds();
    });
  }
  int status_of(const std::string& path) {
    const auto asked = get(path);
    EXPECT_TRUE(run_until([&] { return asked->answer.has_value(); }));
    if (!asked->answer) {
      return -1;
    }
    const auto& answer = *asked->answer;
    return answer ? answer->status : answer.error().status;
  }
  static kube::ClusterConfig config_of(int port) {
    kube::ClusterConfig config;
    config.server = "https://127.0.0.1:" + std::to_string(port);
    config.ca = kube::Material::file(kube::test::tls_files().ca);
    return config;
  }
  static int free_port() {
    return health::Listener::open("127.0.0.1:0")->port();
  }

  std::unique_ptr<Loop> loop_ = *Loop::create();
  kube::test::FakeServer api_{[](const auto& request, auto& peer) {
    const json spec = json::parse(request.body)["spec"];
    const bool good = spec["token"] == "good";
    peer.reply(
        201,
        json{{"status",
              {{"authenticated", good},
               {"audiences", {"sluice-explain"}},
               {"user",
                {{"username", "system:serviceaccount:ns:sluice-explain"}}}}}}
            .dump());
  }};
  std::unique_ptr<kube::Client> client_ =
      *kube::Client::create(*loop_, api_.config());
  std::deque<std::pair<QueryServer::Question, QueryServer::Done>> questions_;
  int flows_ = 0;
  const int port_ = free_port();
  // One connection for each request, as the API server's proxy makes them.
  std::unique_ptr<kube::Client> people_ =
      *kube::Client::create(*loop_, config_of(port_), {.http2 = false});
  QueryServer server_{
      *client_,
      "127.0.0.1:" + std::to_string(port_),
      "ns",
      {.ask =
           [this](const auto& question, QueryServer::Done done) {
             questions_.emplace_back(question, std::move(done));
           },
       .flows =
           [this](const std::string&, const std::string&) {
             ++flows_;
             return std::shared_ptr<flow::FlowPull>();
           }}};
};

TEST_F(OperatorQueryServer, a_question_waits_for_its_answer_in_any_thread) {
  const auto asked = get("/explain?from=a&to=b&port=80");
  ASSERT_TRUE(run_until([&] { return !questions_.empty(); }));
  EXPECT_FALSE(asked->answer);
  const auto& question = questions_.front().first;
  EXPECT_EQ(question.path, "/explain");
  EXPECT_EQ(question.request.from, "a");
  EXPECT_EQ(question.request.to, "b");
  EXPECT_EQ(question.request.port, "80");
  {
    Worker worker;
    std::promise<void> ran;
    worker.add([&] {
      questions_.front().second({.status = 200, .text = "the answer"});
      ran.set_value();
    });
    ran.get_future().wait();
  }
  ASSERT_TRUE(run_until([&] { return asked->answer.has_value(); }));
  ASSERT_TRUE(*asked->answer);
  EXPECT_EQ((*asked->answer)->body, "the answer");
}

TEST_F(OperatorQueryServer, failures_have_the_status_that_says_whose_they_are) {
  for (const int status : {422, 429, 503}) {
    const auto asked = get("/status");
    ASSERT_TRUE(run_until([&] { return !questions_.empty(); }));
    questions_.front().second({.status = status, .text = "why"});
    questions_.pop_front();
    ASSERT_TRUE(run_until([&] { return asked->answer.has_value(); }));
    ASSERT_FALSE(*asked->answer);
    EXPECT_EQ(asked->answer->error().status, status);
  }
  for (const auto& [code, status] :
       {std::pair{grpc::StatusCode::RESOURCE_EXHAUSTED, 429},
        {grpc::StatusCode::CANCELLED, 503},
        {grpc::StatusCode::UNAVAILABLE, 503}}) {
    EXPECT_EQ(http_status({code, ""}), status);
  }
}

TEST_F(OperatorQueryServer, many_questions_do_not_keep_readers_of_flows_away) {
  std::vector<std::shared_ptr<Asked>> open;
  open.reserve(8);
  for (int i = 0; i < 8; ++i) {
    open.push_back(get("/status"));
  }
  ASSERT_TRUE(run_until([&] { return questions_.size() == 8; }));
  EXPECT_EQ(status_of("/status"), 429);
  EXPECT_EQ(flows_, 0);
  EXPECT_EQ(status_of("/flows?request=AAAA"), 503) << "there are none";
  EXPECT_EQ(flows_, 1);
}

TEST_F(OperatorQueryServer, a_request_for_flows_may_have_twenty_kilobytes) {
  EXPECT_EQ(status_of("/flows?request=" + std::string(28'000, 'A')), 503);
  EXPECT_EQ(flows_, 1);
  const auto beyond = status_of("/flows?request=" + std::string(70'000, 'A'));
  EXPECT_TRUE(beyond == 414 || beyond == 431 || beyond == 413) << beyond;
  EXPECT_EQ(flows_, 1);
}

TEST(OperatorSteps, one_piece_is_done_in_a_turn_of_the_loop) {
  const auto loop = *Loop::create();
  std::string done;
  {
    Steps steps(*loop);
    const auto add = [&](char name, int pieces) {
      steps.add([&done, name, pieces]() mutable {
        done += name;
        return --pieces > 0;
      });
    };
    add('a', 3);
    add('b', 1);
    add('c', 2);
    const std::string expected = "abcaca";
    for (std::size_t i = 1; i <= expected.size(); ++i) {
      loop->dispatch();
      EXPECT_EQ(done, expected.substr(0, i));
    }
    EXPECT_EQ(steps.waiting(), 0);
    loop->dispatch();
    EXPECT_EQ(done, expected);
    add('d', 1);
  }
  loop->dispatch();
  EXPECT_EQ(done, "abcaca") << "nothing after its end";
}

}  // namespace
}  // namespace sluice::operatord
