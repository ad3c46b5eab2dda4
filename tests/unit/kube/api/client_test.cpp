// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/client.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/kube/api/server.h"

// Requests to the API server: what is sent, what errors say, who is trusted.
namespace sluice::kube::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

class ClientTest : public testing::Test {
 protected:
  void serve(FakeServer::Handler handler, bool tls = false) {
    server_ = std::make_unique<FakeServer>(std::move(handler), tls);
  }
  // Everything is answered with {}.
  void serve_all(bool tls = false) {
    serve([](const HttpRequest&, Peer& peer) { peer.reply(200, "{}"); }, tls);
  }
  void connect(ClusterConfig config) {
    auto made = Client::create(*loop_, std::move(config));
    ASSERT_TRUE(made) << made.error().message;
    client_ = std::move(*made);
  }
  ApiResult<Response> send(Request request) {
    if (!client_) {
      connect(server_->config());
    }
    std::optional<ApiResult<Response>> answer;
    const Call call = client_->send(
        std::move(request),
        [&](ApiResult<Response> result) { answer = std::move(result); });
    EXPECT_FALSE(answer) << "from within send()";
    EXPECT_TRUE(run_until(*loop_, [&] { return answer.has_value(); }));
    return answer.value_or(std::unexpected(ApiError{}));
  }
  std::string error_of(Request request) {
    const auto answer = send(std::move(request));
    return answer ? "answered" : answer.error().message;
  }

  std::unique_ptr<Loop> loop_ = *Loop::create();
  std::unique_ptr<FakeServer> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(ClientTest, sends_method_path_headers_and_body) {
  serve([](const HttpRequest& request, Peer& peer) {
    peer.reply(201, R"({"got":")" + request.body + "\"}");
  });
  const auto answer = send({.method = Method::kPatch,
                            .path = "/api/v1/x?y=z",
                            .body = "text",
                            .content_type = "application/merge-patch+json"});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 201);
  EXPECT_EQ(answer->body, R"({"got":"text"})");
  const auto request = server_->requests().at(0);
  EXPECT_EQ(request.method, "PATCH");
  EXPECT_EQ(request.target, "/api/v1/x?y=z");
  EXPECT_EQ(request.header("content-type"), "application/merge-patch+json");
  EXPECT_EQ(request.header("accept"), "application/json");
  EXPECT_EQ(request.header("user-agent"), "sluice");
  EXPECT_EQ(request.header("authorization"), "(none)");
  EXPECT_EQ(request.header("expect"), "(none)");
  for (const auto& [method, name] :
       {std::pair{Method::kGet, "GET"}, std::pair{Method::kPost, "POST"},
        std::pair{Method::kPut, "PUT"}, std::pair{Method::kDelete, "DELETE"}}) {
    ASSERT_TRUE(send({.method = method, .path = "/m"}));
    EXPECT_EQ(server_->requests().back().method, name);
  }
}

TEST_F(ClientTest, an_error_has_the_status_the_reason_and_the_message) {
  serve([](const HttpRequest&, Peer& peer) {
    peer.reply(409,
               R"({"kind":"Status","reason":"Conflict",)"
               R"("message":"the object has been modified"})",
               "Retry-After: 7\r\n");
  });
  const auto answer = send({.path = "/api/v1/x?limit=1"});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().status, 409);
  EXPECT_EQ(answer.error().reason, "Conflict");
  EXPECT_EQ(answer.error().message,
            "GET /api/v1/x: 409 Conflict: the object has been modified");
  EXPECT_EQ(answer.error().retry_after, seconds(7));
  EXPECT_EQ(client_->stats().failures, 1U);
}

TEST_F(ClientTest, errors_that_are_no_json_are_told_too) {
  serve([](const HttpRequest& request, Peer& peer) {
    if (request.path == "/huge") {
      peer.reply(500, std::string(std::size_t{1} << 20, 'x'));
    } else {
      peer.reply(502, "bad\ngateway\n");
    }
  });
  EXPECT_EQ(error_of({.path = "/a"}), "GET /a: 502: bad\\ngateway");
  EXPECT_THAT(error_of({.path = "/huge"}),
              HasSubstr("GET /huge: 500 Internal Server Error"));
}

TEST_F(ClientTest, redirects_are_not_followed) {
  serve([](const HttpRequest&, Peer& peer) {
    peer.reply(302, "", "Location: /elsewhere\r\n");
  });
  EXPECT_EQ(error_of({.path = "/a"}), "GET /a: 302");
  EXPECT_EQ(server_->requests().size(), 1U);
}

TEST_F(ClientTest, an_answer_that_is_too_long_is_refused) {
  serve([](const HttpRequest&, Peer& peer) {
    peer.begin();
    const std::string block(std::size_t{1} << 16, 'x');
    for (int i = 0; i < 800 && peer.chunk(block); ++i) {
    }
    peer.end();
  });
  EXPECT_EQ(error_of({.path = "/a", .max_response = 100'000}),
            "GET /a: the answer is longer than 100000 bytes");
  EXPECT_LT(client_->stats().bytes, std::size_t{1} << 20);
}

TEST_F(ClientTest, an_answer_that_does_not_come_is_an_error) {
  serve([](const HttpRequest&, Peer& peer) { peer.wait_gone(); });
  EXPECT_EQ(error_of({.path = "/a", .timeout = milliseconds(50)}),
            "GET /a: no answer within 0.05 s");
}

TEST_F(ClientTest, an_answer_cut_short_is_an_error) {
  serve([](const HttpRequest&, Peer& peer) {
    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    peer.cut();
  });
  const auto answer = send({.path = "/a"});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().status, 0);
}

TEST_F(ClientTest, a_call_that_is_given_up_says_nothing) {
  serve([](const HttpRequest&, Peer& peer) { peer.wait_gone(); });
  connect(server_->config());
  {
    const Call call = client_->send(
        {.path = "/a"}, [](const auto&) { FAIL() << "was given up"; });
    ASSERT_TRUE(
        run_until(*loop_, [&] { return server_->requests().size() == 1; }));
    EXPECT_TRUE(call.in_flight());
  }
  bool over = false;
  const Timer timer = loop_->after(milliseconds(30), [&] { over = true; });
  ASSERT_TRUE(run_until(*loop_, [&] { return over; }));
}

TEST_F(ClientTest, a_detached_call_is_answered) {
  serve_all();
  connect(server_->config());
  bool answered = false;
  client_->send({.path = "/a"}, [&](const auto&) { answered = true; }).detach();
  EXPECT_TRUE(run_until(*loop_, [&] { return answered; }));
}

TEST_F(ClientTest, connections_are_used_again) {
  std::atomic<int> connections = 0;
  thread_local bool counted = false;
  serve([&](const HttpRequest&, Peer& peer) {
    connections += counted ? 0 : 1;
    counted = true;
    peer.reply(200, "{}");
  });
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(send({.path = "/a"}));
  }
  EXPECT_EQ(connections, 1);
}

TEST_F(ClientTest, many_requests_at_once) {
  serve_all();
  connect(server_->config());
  int answers = 0;
  for (int i = 0; i < 100; ++i) {
    client_
        ->send({.path = "/a"},
               [&](const ApiResult<Response>& answer) {
                 answers += answer ? 1 : 0;
               })
        .detach();
  }
  EXPECT_TRUE(run_until(*loop_, [&] { return answers == 100; }));
}

TEST_F(ClientTest, a_token_is_sent_and_read_again_when_it_changes) {
  serve([](const HttpRequest& request, Peer& peer) {
    const bool good = request.header("authorization") == "Bearer two";
    peer.reply(good ? 200 : 401, "{}");
  });
  const auto folder = tls_files().folder;
  const auto path = folder / "token";
  std::ofstream(path) << " one\n";
  ClusterConfig config = server_->config();
  config.token = Material::file(path);
  connect(config);
  EXPECT_THAT(error_of({.path = "/a"}), HasSubstr("401 Unauthorized"));
  EXPECT_EQ(server_->requests().back().header("authorization"), "Bearer one");
  std::ofstream(folder / "token.new") << "two\n";
  std::filesystem::rename(folder / "token.new", path);
  EXPECT_TRUE(send({.path = "/a"}));
}

// The same size, the same time stamp, even the same inode: only a 401 tells.
TEST_F(ClientTest, after_401_a_token_is_read_again_in_any_case) {
  serve([](const HttpRequest& request, Peer& peer) {
    const bool good = request.header("authorization") == "Bearer two";
    peer.reply(good ? 200 : 401, "{}");
  });
  const auto path = tls_files().folder / "same";
  std::ofstream(path) << "one";
  const auto time = std::filesystem::last_write_time(path);
  ClusterConfig config = server_->config();
  config.token = Material::file(path);
  connect(config);
  std::ofstream(path, std::ios::in) << "one";
  EXPECT_FALSE(send({.path = "/a"}));
  std::ofstream(path, std::ios::in) << "two";
  std::filesystem::last_write_time(path, time);
  [[maybe_unused]] const auto either = send({.path = "/a"});
  EXPECT_TRUE(send({.path = "/a"}));
}

TEST_F(ClientTest, a_token_cannot_add_headers) {
  serve_all();
  ClusterConfig config = server_->config();
  config.token = Material::literal("a\r\nX-Evil: 1");
  connect(config);
  EXPECT_EQ(error_of({.path = "/a"}),
            "GET /a: token: is empty or contains control characters");
  config.token = Material::file("/nonexistent/token");
  connect(config);
  EXPECT_THAT(error_of({.path = "/a"}), HasSubstr("/nonexistent/token"));
  EXPECT_TRUE(server_->requests().empty());
}

TEST_F(ClientTest, the_clusters_authority_is_trusted) {
  serve_all(true);
  const auto answer = send({.path = "/a"});
  EXPECT_TRUE(answer) << answer.error().message;
}

TEST_F(ClientTest, another_authority_is_not_trusted) {
  serve_all(true);
  ClusterConfig config = server_->config();
  config.ca = Material::file(tls_files().other_ca);
  connect(config);
  EXPECT_THAT(error_of({.path = "/a"}), HasSubstr("certificate"));
  // Nor are those of the system, among which it is not.
  config.ca = Material();
  connect(config);
  EXPECT_THAT(error_of({.path = "/a"}), HasSubstr("certificate"));
  EXPECT_TRUE(server_->requests().empty());
}

TEST_F(ClientTest, a_certificate_for_another_name_is_not_trusted) {
  serve_all(true);
  ClusterConfig config = server_->config();
  config.server = "https://localhost:" + std::to_string(server_->port());
  connect(config);
  EXPECT_FALSE(send({.path = "/a"}));
  config.tls_server_name = "api.test";
  connect(config);
  const auto answer = send({.path = "/a"});
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(server_->requests().back().header("host"),
            "localhost:" + std::to_string(server_->port()));
  config.tls_server_name = "other.test";
  connect(config);
  EXPECT_FALSE(send({.path = "/a"}));
}

TEST_F(ClientTest, verification_is_off_only_if_asked_for) {
  serve_all(true);
  ClusterConfig config = server_->config();
  config.ca = Material();
  config.insecure = true;
  connect(config);
  EXPECT_TRUE(send({.path = "/a"}));
}

TEST_F(ClientTest, client_certificates_are_shown) {
  serve_all(true);
  ClusterConfig config = server_->config();
  config.client_certificate = Material::file(tls_files().certificate);
  config.client_key = Material::file(tls_files().key);
  connect(config);
  const auto answer = send({.path = "/a"});
  EXPECT_TRUE(answer) << answer.error().message;
  config.client_key = Material::literal("no key");
  connect(config);
  EXPECT_FALSE(send({.path = "/a"}));
}

TEST_F(ClientTest, a_server_that_is_no_url_is_an_error) {
  ClusterConfig config;
  config.server = "kubernetes";
  const auto made = Client::create(*loop_, config);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("\"kubernetes\""));
}

TEST_F(ClientTest, nobody_at_the_address) {
  ClusterConfig config;
  {
    const FakeServer gone([](const HttpRequest&, Peer&) {});
    config = gone.config();
  }
  connect(config);
  const auto answer = send({.path = "/a", .purpose = "try"});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().status, 0);
  EXPECT_THAT(answer.error().message, HasSubstr("try: Failed to connect"));
}

}  // namespace
}  // namespace sluice::kube::test
