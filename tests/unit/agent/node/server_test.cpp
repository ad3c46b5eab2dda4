// SPDX-License-Identifier: Apache-2.0
#include "agent/node/server.h"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <future>
#include <optional>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "cli/client.h"
#include "lib/base/fd.h"

namespace sluice::node {
namespace {

using nlohmann::json;

constexpr int kTurnMs = 20;
constexpr std::size_t kRows = 5000;
constexpr std::uint64_t kTicket = 7;

sockaddr_un address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto size = path.string().copy(std::data(address.sun_path),
                                       std::size(address.sun_path) - 1);
  EXPECT_EQ(size, path.string().size());
  return address;
}

class ServerTest : public ::testing::Test {
 protected:
  ServerTest() {
    std::string name =
        (std::filesystem::temp_directory_path() / "sluice-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = folder_ / "sub/sluice.sock";
    auto server = Server::open(
        path_, [](const std::string& request) { return answer(request); });
    EXPECT_TRUE(server.has_value());
    server_ = std::move(*server);
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  static Server::Answer answer(const std::string& request) {
    if (request == R"({"command":"monitor"})") {
      return {.reply = {}, .drops_only = false};
    }
    if (request == R"({"command":"drops"})") {
      return {.reply = {}, .drops_only = true};
    }
    if (request == R"({"command":"rows"})") {
      return {.reply =
                  [n = std::size_t{0}]() mutable -> std::optional<std::string> {
                ++n;
                if (n == 1) {
                  return "{\"view\":{}}";
                }
                if (n <= kRows + 1) {
                  return "{\"rows\":[" + std::to_string(n) + "]}";
                }
                return n == kRows + 2
                           ? std::optional<std::string>("{\"end\":true}")
                           : std::nullopt;
              },
              .drops_only = false};
    }
    if (request == R"({"command":"later"})") {
      return {.reply = {}, .drops_only = false, .ticket = kTicket};
    }
    return {.reply = reply_line(R"({"error":"what?"})"), .drops_only = false};
  }

  // Serves until `done`.
  template <typename Done>
  bool serve_until(Done done) {
    for (int turn = 0; turn < 500; ++turn) {
      if (done()) {
        return true;
      }
      pollfd fd{.fd = server_->poll_fd(), .events = POLLIN, .revents = 0};
      ::poll(&fd, 1, kTurnMs);
      server_->dispatch();
    }
    return false;
  }
  [[nodiscard]] Fd connect() const {
    const auto address = address_of(path_);
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd.valid()) {
      ADD_FAILURE() << "no socket";
      return fd;
    }
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                        sizeof(address)),
              0);
    return fd;
  }
  static void send_text(const Fd& fd, const std::string& text) {
    EXPECT_EQ(
        ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT),
        static_cast<ssize_t>(text.size()));
  }
  // True if the server has closed the connection.
  static bool closed(const Fd& fd) {
    char byte = 0;
    const auto got = ::recv(fd.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }
  Result<json> ask_meanwhile(const json& request, const char* rows = "") {
    std::atomic<bool> done = false;
    auto reply = std::async(std::launch::async, [&] {
      auto result = cli::ask(path_, request, rows);
      done = true;
      return result;
    });
    EXPECT_TRUE(serve_until([&] { return done.load(); }));
    return reply.get();
  }

  std::filesystem::path folder_;
  std::filesystem::path path_;
  std::optional<Server> server_;
};

TEST_F(ServerTest, WhoWaitsForAReplyGetsItLaterAndIsNotIdle) {
  EXPECT_FALSE(server_->answer(kTicket, reply_line("{}"))) << "nobody waits";
  const auto fd = connect();
  send_text(fd, "{\"command\":\"later\"}\n");
  serve_until([turns = 0]() mutable { return ++turns > 5; });
  server_->expire(std::chrono::steady_clock::now() + std::chrono::hours(1));
  EXPECT_FALSE(closed(fd));
  EXPECT_TRUE(server_->answer(kTicket, reply_line("{\"now\":1}")));
  std::array<char, 64> buffer{};
  EXPECT_GT(::recv(fd.get(), buffer.data(), buffer.size(), 0), 0);
  EXPECT_STREQ(buffer.data(), "{\"now\":1}\n");
  EXPECT_FALSE(server_->answer(kTicket, reply_line("{}"))) << "answered";
}

TEST_F(ServerTest, WhoDoesNotWaitAnyMoreIsForgotten) {
  auto fd = connect();
  send_text(fd, "{\"command\":\"later\"}\n");
  serve_until([turns = 0]() mutable { return ++turns > 5; });
  fd.reset();
  serve_until([turns = 0]() mutable { return ++turns > 5; });
  EXPECT_FALSE(server_->answer(kTicket, reply_line("{}")));
}

TEST_F(ServerTest, SocketIsForItsOwnerOnly) {
  struct stat status{};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(ServerTest, LongRepliesArriveWhole) {
  const auto view = ask_meanwhile({{"command", "rows"}}, "all");
  ASSERT_TRUE(view.has_value()) << view.error().message;
  ASSERT_EQ((*view)["all"].size(), kRows);
  EXPECT_EQ((*view)["all"].back(), kRows + 1);
}

TEST_F(ServerTest, ErrorsAreErrors) {
  const auto view = ask_meanwhile({{"command", "nonsense"}});
  ASSERT_FALSE(view.has_value());
  EXPECT_EQ(view.error().message, "what?");
}

TEST_F(ServerTest, RequestWithoutEndIsCutOff) {
  const auto fd = connect();
  const std::string garbage(50'000, 'x');
  send_text(fd, garbage);
  EXPECT_TRUE(serve_until([&] { return !closed(fd); }));
  send_text(fd, garbage);
  EXPECT_TRUE(serve_until([&] { return closed(fd); }));
}

TEST_F(ServerTest, TooManyConnectionsAreTurnedAwayAndTheFirstStillServed) {
  std::vector<Fd> idle;
  for (int i = 0; i < 63; ++i) {
    idle.push_back(connect());
    server_->dispatch();
  }
  const auto served = connect();
  EXPECT_TRUE(serve_until([&] { return true; }));
  server_->dispatch();
  const auto refused = connect();
  EXPECT_TRUE(serve_until([&] { return closed(refused); }));
  EXPECT_FALSE(closed(served));
  send_text(served, "?\n");
  EXPECT_TRUE(serve_until([&] {
    char byte = 0;
    return ::recv(served.get(), &byte, 1, MSG_DONTWAIT) == 1;
  }));
}

TEST_F(ServerTest, SubscribersGetWhatTheyAskedFor) {
  const auto all = connect();
  const auto drops = connect();
  send_text(all, "{\"command\":\"monitor\"}\n");
  send_text(drops, "{\"command\":\"drops\"}\n");
  int turns = 0;
  ASSERT_TRUE(
      serve_until([&] { return server_->has_subscribers() && ++turns > 10; }));
  server_->publish("allowed", false);
  server_->publish("denied", true);
  std::string text(64, '\0');
  text.resize(static_cast<std::size_t>(
      ::recv(all.get(), text.data(), text.size(), MSG_DONTWAIT)));
  EXPECT_EQ(text, "allowed\ndenied\n");
  text.assign(64, '\0');
  text.resize(static_cast<std::size_t>(
      ::recv(drops.get(), text.data(), text.size(), MSG_DONTWAIT)));
  EXPECT_EQ(text, "denied\n");
}

TEST_F(ServerTest, SlowSubscriberLosesEventsAndIsToldHowMany) {
  constexpr int kEvents = 50'000;
  const std::string line(100, 'e');
  const auto fd = connect();
  send_text(fd, "{\"command\":\"monitor\"}\n");
  ASSERT_TRUE(serve_until([&] { return server_->has_subscribers(); }));
  for (int i = 0; i < kEvents; ++i) {
    server_->publish(line, false);
  }
  int events = 0;
  int lost = 0;
  std::string text;
  EXPECT_TRUE(serve_until([&] {
    std::string chunk(1 << 20, '\0');
    const auto got = ::recv(fd.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (got > 0) {
      text.append(chunk, 0, static_cast<std::size_t>(got));
    }
    std::size_t end = 0;
    while ((end = text.find('\n')) != std::string::npos) {
      if (text.starts_with("{\"lost\":")) {
        lost += std::atoi(text.c_str() + 8);
      } else {
        events += 1;
      }
      text.erase(0, end + 1);
    }
    server_->publish(line, false);
    return lost > 0;
  }));
  EXPECT_GT(events, 0);
  EXPECT_LT(events, kEvents);
}

TEST_F(ServerTest, IdleConnectionsEndAndSubscribersStay) {
  const auto idle = connect();
  const auto subscriber = connect();
  send_text(subscriber, R"({"command":"monitor"})"
                        "\n");
  ASSERT_TRUE(serve_until([&] { return server_->has_subscribers(); }));
  const auto now = std::chrono::steady_clock::now();
  server_->expire(now);
  EXPECT_FALSE(closed(idle));
  server_->expire(now + std::chrono::minutes(1));
  EXPECT_TRUE(closed(idle));
  EXPECT_FALSE(closed(subscriber));
  EXPECT_TRUE(server_->has_subscribers());
}

TEST_F(ServerTest, SubscriberThatLeavesIsForgotten) {
  {
    const auto fd = connect();
    send_text(fd, "{\"command\":\"monitor\"}\n");
    ASSERT_TRUE(serve_until([&] { return server_->has_subscribers(); }));
  }
  server_->publish("event", false);
  EXPECT_TRUE(serve_until([&] { return !server_->has_subscribers(); }));
}

TEST_F(ServerTest, StaleSocketIsReplacedAndOwnOneRemoved) {
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
  {
    const Fd stale(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_TRUE(stale.valid());
    const auto address = address_of(path_);
    ASSERT_EQ(::bind(stale.get(), reinterpret_cast<const sockaddr*>(&address),
                     sizeof(address)),
              0);
  }
  auto server = Server::open(path_, answer);
  ASSERT_TRUE(server.has_value());
  server_ = std::move(*server);
  EXPECT_FALSE(ask_meanwhile({{"command", "nonsense"}}).has_value());
}

}  // namespace
}  // namespace sluice::node
