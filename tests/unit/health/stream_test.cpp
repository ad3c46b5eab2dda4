// SPDX-License-Identifier: Apache-2.0
// Answers that are made while they are sent.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
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
using Stream = std::function<std::optional<std::string>()>;

class HttpStream : public testing::Test {
 protected:
  void serve(Stream stream, HttpServer::Options options = {}) {
    auto opened = HttpServer::open(
        "127.0.0.1:0",
        [stream = std::move(stream)](const auto&) {
          return HttpServer::Answer{.status = 200,
                                    .type = "text/plain",
                                    .body = {},
                                    .headers = {},
                                    .stream = stream};
        },
        std::move(options));
    ASSERT_TRUE(opened) << opened.error().message;
    server_.emplace(std::move(*opened));
  }
  [[nodiscard]] Fd ask() const {
    auto fd = connect_to("127.0.0.1", server_->port());
    say(fd, "GET / HTTP/1.0\r\n\r\n");
    return fd;
  }

  std::optional<HttpServer> server_;
};

TEST_F(HttpStream, gives_what_comes_and_waits_for_what_comes_later) {
  std::atomic<int> calls = 0;
  serve([&calls]() -> std::optional<std::string> {
    switch (++calls) {
      case 1:
        return "first\n";
      case 2:
      case 3:
        return "";
      case 4:
        return std::string(100'000, '#') + "\n";
      default:
        return std::nullopt;
    }
  });
  const auto answer = hear(ask());
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\n\r\nfirst\n###"));
  EXPECT_THAT(answer, EndsWith("#\n"));
  EXPECT_EQ(std::ranges::count(answer, '#'), 100'000);
  EXPECT_EQ(calls, 5);
}

TEST_F(HttpStream, one_that_waits_delays_no_other) {
  std::atomic<bool> open = true;
  std::atomic<int> streams = 0;
  auto opened = HttpServer::open("127.0.0.1:0", [&](const auto& request) {
    HttpServer::Answer answer{.status = 200, .type = "text/plain", .body = "x"};
    if (request.path == "/wait") {
      ++streams;
      answer.stream = [&open]() -> std::optional<std::string> {
        return open ? std::optional<std::string>("") : std::nullopt;
      };
    }
    return answer;
  });
  ASSERT_TRUE(opened);
  server_.emplace(std::move(*opened));
  const auto waits = connect_to("127.0.0.1", server_->port());
  say(waits, "GET /wait HTTP/1.0\r\n\r\n");
  while (streams == 0) {
    std::this_thread::yield();
  }
  EXPECT_THAT(hear(ask()), EndsWith("\r\n\r\nx"));
  open = false;
  EXPECT_THAT(hear(waits), EndsWith("\r\n\r\n"));
}

TEST_F(HttpStream, a_reader_may_pause_for_longer_than_others_may_be_silent) {
  std::atomic<bool> more = true;
  serve(
      [&more]() -> std::optional<std::string> {
        return more ? std::optional(std::string(65'536, '#')) : std::nullopt;
      },
      {.silence = std::chrono::seconds(1),
       .stream_silence = std::chrono::hours(1)});
  const auto pauses = ask();
  std::array<char, 16> some{};
  ASSERT_GT(::recv(pauses.get(), some.data(), some.size(), 0), 0);
  // One that says nothing from now on is closed.
  EXPECT_EQ(hear(connect_to("127.0.0.1", server_->port())), "");
  more = false;
  EXPECT_THAT(hear(pauses), EndsWith("#")) << "it is not cut";
}

TEST_F(HttpStream, a_reader_that_pauses_for_too_long_is_cut) {
  const auto owner = std::make_shared<int>();
  serve(
      [owner]() -> std::optional<std::string> {
        return std::string(65'536, '#');
      },
      {.silence = std::chrono::hours(1),
       .stream_silence = std::chrono::seconds(1)});
  const auto pauses = ask();
  std::array<char, 16> some{};
  ASSERT_GT(::recv(pauses.get(), some.data(), some.size(), 0), 0);
  for (int i = 0; i < 3'000 && owner.use_count() > 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(owner.use_count(), 2);
}

TEST_F(HttpStream, ends_when_its_client_is_gone_and_when_the_server_is) {
  const auto owner = std::make_shared<int>();
  serve([owner]() -> std::optional<std::string> { return "more\n"; });
  {
    // Of the handler and the test; the answer has one more.
    const auto fd = ask();
    std::array<char, 16> some{};
    ASSERT_GT(::recv(fd.get(), some.data(), some.size(), 0), 0);
    EXPECT_GT(owner.use_count(), 2);
  }
  for (int i = 0; i < 1'000 && owner.use_count() > 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(owner.use_count(), 2);
  const auto open = ask();
  server_.reset();
  EXPECT_EQ(owner.use_count(), 1);
}

}  // namespace
}  // namespace sluice::health
