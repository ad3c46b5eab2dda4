// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/server.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/fd.h"
#include "tests/unit/health/connection.h"
#include "tests/unit/ui/store_sources.h"

// What reaches a reader, while the program's thread answers and while it does
// not.
namespace sluice::ui {
namespace {

using health::hear;
using testing::HasSubstr;
using testing::StartsWith;

class UiServer : public testing::Test {
 protected:
  void SetUp() override {
    auto listener = health::Listener::open("127.0.0.1:0");
    ASSERT_TRUE(listener) << listener.error().message;
    auto server = Server::open(std::move(*listener), sources_,
                               {.node = "node1", .version = "1"});
    ASSERT_TRUE(server) << server.error().message;
    server_.emplace(std::move(*server));
  }

  [[nodiscard]] Fd ask(const std::string& path) const {
    auto fd = health::connect_to("127.0.0.1", server_->port());
    health::say(fd, "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    return fd;
  }
  [[nodiscard]] std::string get(const std::string& path) const {
    return hear(ask(path));
  }
  // Waits until so many callbacks have been posted, and takes them.
  std::vector<std::function<void()>> posted(std::size_t count) {
    std::unique_lock lock(sources_.mutex);
    EXPECT_TRUE(sources_.changed.wait_for(lock, std::chrono::seconds(60), [&] {
      return sources_.posted.size() >= count;
    }));
    return std::exchange(sources_.posted, {});
  }

  StoreSources sources_;
  std::optional<Server> server_;
};

TEST_F(UiServer, GivesFlowsAndEdgesWithoutTheProgramsThread) {
  sources_.add("web");
  EXPECT_THAT(get("/api/flows"), HasSubstr("\"pod_name\":\"web\""));
  const auto edges = get("/api/edges?from-pod=shop/web");
  EXPECT_THAT(edges, HasSubstr("\"flows\":1"));
  EXPECT_THAT(edges, HasSubstr("\"more\":false"));
  EXPECT_THAT(get("/api/flows?from-pod=shop/db"), HasSubstr("\"flows\":[]"));
}

TEST_F(UiServer, OthersAreAnsweredWhileOneWaitsForTheProgram) {
  const auto waiting = ask("/api/policies");
  const auto jobs = posted(1);
  EXPECT_THAT(get("/api/status"), HasSubstr("node1"));
  jobs.front()();
  EXPECT_THAT(hear(waiting), HasSubstr("{\"policies\":[]}"));
}

TEST_F(UiServer, TooManyThatWaitAreTurnedAway) {
  constexpr std::size_t kMost = 12;
  std::vector<Fd> waiting;
  waiting.reserve(kMost);
  while (waiting.size() < kMost) {
    waiting.push_back(ask("/api/policies"));
  }
  const auto jobs = posted(kMost);
  EXPECT_THAT(get("/api/policies"), StartsWith("HTTP/1.1 429 "));
  for (const auto& job : jobs) {
    job();
  }
  for (const auto& each : waiting) {
    EXPECT_THAT(hear(each), StartsWith("HTTP/1.1 200 "));
  }
  EXPECT_THAT(get("/api/status"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(UiServer, WhatIsAnsweredAfterItsEndIsNothing) {
  const auto waiting = ask("/api/policies");
  const auto jobs = posted(1);
  server_.reset();
  jobs.front()();
  EXPECT_EQ(hear(waiting), "");
}

TEST_F(UiServer, WhatTheSourcesCannotSayIsAnErrorWithItsReason) {
  sources_.problem = "403 Forbidden";
  for (const auto* path : {"/api/edges", "/api/flows"}) {
    const auto answer = get(path);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 502 "));
    EXPECT_THAT(answer, HasSubstr("{\"error\":\"403 Forbidden\"}"));
  }
  const auto waiting = ask("/api/policies");
  posted(1).front()();
  EXPECT_THAT(hear(waiting), StartsWith("HTTP/1.1 502 "));
}

}  // namespace
}  // namespace sluice::ui
