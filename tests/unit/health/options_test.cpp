// SPDX-License-Identifier: Apache-2.0
// How much a server takes of one client.

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "connection.h"
#include "lib/health/http_server.h"

namespace sluice::health {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

class HttpOptions : public testing::Test {
 protected:
  // Answers with the size of the argument "x".
  void serve(HttpServer::Options options) {
    auto opened = HttpServer::open(
        "127.0.0.1:0",
        [](const HttpServer::Request& request) {
          return HttpServer::Answer{
              .status = 200,
              .type = "text/plain",
              .body = std::to_string(request.argument("x").size())};
        },
        std::move(options));
    ASSERT_TRUE(opened) << opened.error().message;
    server_.emplace(std::move(*opened));
  }
  std::string ask(std::size_t size, const std::string& token = {}) {
    const auto fd = connect_to("127.0.0.1", server_->port());
    say(fd, "GET /?x=" + std::string(size, 'x') +
                " HTTP/1.0\r\nToken: " + token + "\r\n\r\n");
    return hear(fd);
  }

  std::optional<HttpServer> server_;
};

TEST_F(HttpOptions, a_request_may_be_as_large_as_there_is_memory_for_it) {
  serve({});
  EXPECT_THAT(ask(1'000), EndsWith("\r\n\r\n1000"));
  EXPECT_THAT(ask(30'000), StartsWith("HTTP/1.1 4"));
  serve({.memory_of_one = 65'536});
  EXPECT_THAT(ask(30'000), EndsWith("\r\n\r\n30000"));
  EXPECT_THAT(ask(28'000, std::string(16'000, 't')), EndsWith("\r\n\r\n28000"));
  EXPECT_THAT(ask(100'000), StartsWith("HTTP/1.1 4"));
}

TEST_F(HttpOptions, an_address_may_have_as_many_connections_as_is_said) {
  serve({.connections_of_one = 20});
  std::vector<Fd> held;
  held.reserve(20);
  for (int i = 0; i < 19; ++i) {
    held.push_back(connect_to("127.0.0.1", server_->port()));
  }
  EXPECT_THAT(ask(5), HasSubstr("200 OK"));
  held.push_back(connect_to("127.0.0.1", server_->port()));
  // The next one is closed without an answer.
  EXPECT_EQ(hear(connect_to("127.0.0.1", server_->port())), "");
}

}  // namespace
}  // namespace sluice::health
