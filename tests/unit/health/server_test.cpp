// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "lib/base/fd.h"
#include "lib/health/health_server.h"
#include "tests/unit/health/connection.h"

// What kubelet and Prometheus get, whoever else is there.
namespace sluice::health {
namespace {

using std::chrono::seconds;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using Clock = std::chrono::steady_clock;

std::string request(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\n\r\n";
}

class HealthServerTest : public testing::Test {
 protected:
  void open(const std::string& address = "127.0.0.1:0") {
    auto opened = HealthServer::open(address);
    ASSERT_TRUE(opened) << opened.error().message;
    server_.emplace(std::move(*opened));
    server_->beat();
  }
  [[nodiscard]] Fd connect(const std::string& host = "127.0.0.1") const {
    return connect_to(host, server_->port());
  }
  [[nodiscard]] std::string get(const std::string& path,
                                const std::string& host = "127.0.0.1") const {
    const auto fd = connect(host);
    say(fd, request(path));
    return hear(fd);
  }
  [[nodiscard]] std::string answer_to(const std::string& text) const {
    const auto fd = connect();
    say(fd, text);
    return hear(fd);
  }

  std::optional<HealthServer> server_;
};

TEST_F(HealthServerTest, answers_kubelet) {
  open();
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(get("/readyz"),
              StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_THAT(get("/readyz"), EndsWith("\r\n\r\nstarting\n"));
  server_->set_ready("pods have not been listed yet");
  EXPECT_THAT(get("/readyz?verbose"),
              EndsWith("\r\n\r\npods have not been listed yet\n"));
  server_->set_ready("");
  const auto ready = get("/readyz");
  EXPECT_THAT(ready, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(ready, HasSubstr("\r\nContent-Type: text/plain\r\n"));
  EXPECT_THAT(ready, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_THAT(ready, EndsWith("\r\n\r\nok\n"));
  EXPECT_THAT(get("/nothing"), StartsWith("HTTP/1.1 404 Not Found\r\n"));
}

TEST_F(HealthServerTest, is_not_alive_before_the_main_loop_runs) {
  auto opened = HealthServer::open("127.0.0.1:0");
  ASSERT_TRUE(opened) << opened.error().message;
  server_.emplace(std::move(*opened));
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(get("/healthz"), EndsWith("\r\n\r\nstarting\n"));
  server_->report("", [] { return "a_metric 1\n"; });
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(get("/readyz"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HealthServerTest, everywhere_is_both_families) {
  for (const char* address : {"0.0.0.0:0", "[::]:0"}) {
    open(address);
    EXPECT_THAT(get("/healthz", "127.0.0.1"), StartsWith("HTTP/1.1 200"));
    EXPECT_THAT(get("/healthz", "::1"), StartsWith("HTTP/1.1 200"));
  }
  open("[::1]:0");
  EXPECT_THAT(get("/healthz", "::1"), StartsWith("HTTP/1.1 200"));
}

// Takes IPv6 from the calling thread and those that it starts, as the kernel's
// option ipv6.disable=1 does from all.
bool forget_ipv6() {
  std::array<sock_filter, 6> code{{
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_socket, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  }};
  const sock_fprog program{.len = code.size(), .filter = code.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST_F(HealthServerTest, everywhere_is_ipv4_where_the_kernel_has_no_other) {
  std::thread([&] {
    ASSERT_TRUE(forget_ipv6());
    ASSERT_LT(::socket(AF_INET6, SOCK_STREAM, 0), 0);
    for (const char* address : {"0.0.0.0:0", "[::]:0"}) {
      open(address);
      EXPECT_THAT(get("/healthz", "127.0.0.1"), StartsWith("HTTP/1.1 200"));
    }
    EXPECT_FALSE(HealthServer::open("[::1]:0"));
  }).join();
}

TEST_F(HealthServerTest, where_it_cannot_listen_is_said) {
  open();
  const auto taken = "127.0.0.1:" + std::to_string(server_->port());
  const auto opened = HealthServer::open(taken);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().message,
            taken + ": cannot listen there: Address already in use");
  for (const char* address :
       {"", ":", "9965", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x",
        "127.0.0.1:65536", "localhost:1", "::1:80", "[::1]"}) {
    EXPECT_FALSE(HealthServer::open(address)) << address;
  }
}

TEST_F(HealthServerTest, metrics_are_of_the_moment_of_the_request) {
  open();
  server_->set_metrics("old 1\n");
  std::atomic<bool> over = false;
  std::thread program([&] {
    while (!over) {
      if (server_->wants_metrics()) {
        server_->set_metrics("new 1\n");
      }
    }
  });
  EXPECT_THAT(get("/metrics"), EndsWith("\r\n\r\nnew 1\n"));
  over = true;
  program.join();
  EXPECT_FALSE(server_->wants_metrics());
}

TEST_F(HealthServerTest, metrics_of_before_if_the_program_is_busy) {
  open();
  server_->set_metrics("old 1\n");
  const auto begun = Clock::now();
  EXPECT_THAT(get("/metrics"), EndsWith("\r\n\r\nold 1\n"));
  EXPECT_LT(Clock::now() - begun, seconds(4));
  EXPECT_TRUE(server_->wants_metrics());
}

TEST_F(HealthServerTest, a_large_answer_arrives_whole) {
  open();
  const std::string text(8 << 20, 'x');
  std::atomic<bool> over = false;
  std::thread program([&] {
    while (!over) {
      server_->set_metrics(text);
    }
  });
  EXPECT_THAT(get("/metrics"), EndsWith("\r\n\r\n" + text));
  over = true;
  program.join();
}

TEST_F(HealthServerTest, what_is_no_request_is_refused) {
  open();
  EXPECT_THAT(answer_to("POST /healthz HTTP/1.1\r\nHost: a\r\n"
                        "Content-Length: 2\r\n\r\nab"),
              StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(answer_to("GET /healthz HTTP/1.1\r\nHost: a\r\n"
                        "Content-Length: 2\r\n\r\nab"),
              StartsWith("HTTP/1.1 200 "));
  const std::string many(100'000, 'x');
  for (const auto& text :
       {std::string("GET\r\n\r\n"), std::string("GET healthz\r\n\r\n"),
        std::string("\0\x16\x03\x01\r\n\r\n", 8),
        "GET /" + many + " HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: " + many + "\r\n\r\n"}) {
    EXPECT_THAT(answer_to(text), Not(HasSubstr(" 200 "))) << text.substr(0, 40);
  }
  // A piece at a time is a request too.
  const auto fd = connect();
  for (const char letter : request("/healthz")) {
    say(fd, std::string(1, letter));
  }
  EXPECT_THAT(hear(fd), StartsWith("HTTP/1.1 200"));
}

// Neither that they say nothing nor that there are many of them keeps a probe
// from its answer.
TEST_F(HealthServerTest, an_address_that_holds_connections_holds_up_no_other) {
  open();
  std::vector<Fd> held;
  for (int i = 0; i < 200; ++i) {
    held.push_back(connect_to("127.0.0.1", server_->port(), "127.0.0.2"));
    if (i % 2 == 0) {
      // Fails once the server has closed it.
      const std::string_view piece = "GET /healthz HTTP/1.1\r\n";
      ::send(held.back().get(), piece.data(), piece.size(), MSG_NOSIGNAL);
    }
    if (i % 20 == 0) {
      const auto begun = Clock::now();
      EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
      EXPECT_LT(Clock::now() - begun, seconds(1));
    }
  }
}

TEST_F(HealthServerTest, one_who_reads_nothing_is_left) {
  open();
  server_->set_metrics(std::string(64 << 20, 'x'));
  const auto fd = connect();
  say(fd, request("/metrics"));
  EXPECT_THAT(get("/healthz"), StartsWith("HTTP/1.1 200"));
}

}  // namespace
}  // namespace sluice::health
