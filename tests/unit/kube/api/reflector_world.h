// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "lib/kube/api/reflector.h"
#include "tests/unit/kube/api/server.h"

// A reflector with a server of its own, and what such a server says.
namespace sluice::kube::test {

inline constexpr std::string_view kDefinitions =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/";

std::string pod(const std::string& name, int version,
                const std::string& more = "");
std::string line(const std::string& type, const std::string& object);
std::string bookmark(int version);
std::string list(const std::vector<std::string>& items, int version,
                 const std::string& next = "");
std::string status_object(int code, const std::string& reason,
                          const std::string& message);
// What there is no more.
std::string gone_status();
// The server does not have the version yet that was asked for.
std::string too_new_status();
std::string text_of(const Event& event);
// Waits are short.
ReflectorOptions quick();

class ReflectorTest : public testing::Test {
 protected:
  // `handler` gets the number of the request, from 0, counting lists and
  // watches apart.
  using Step = std::function<void(const HttpRequest&, Peer&, int number)>;

  void serve(Step on_list, Step on_watch, ReflectorOptions options = quick(),
             const Resource& resource = pods()) {
    server_ = std::make_unique<FakeServer>(
        [this, on_list = std::move(on_list), on_watch = std::move(on_watch)](
            const HttpRequest& request, Peer& peer) {
          if (request.path.starts_with(kDefinitions)) {
            on_definition_(peer);
            return;
          }
          const int number = request.is_watch() ? watches_++ : lists_++;
          (request.is_watch() ? on_watch : on_list)(request, peer, number);
        });
    connect(server_->config(), std::move(options), resource);
  }

  void connect(ClusterConfig config, ReflectorOptions options,
               const Resource& resource) {
    client_ = *Client::create(*loop_, std::move(config));
    reflector_ = std::make_unique<Reflector>(
        *client_, resource,
        [this](std::vector<Event> events) {
          EXPECT_FALSE(events.empty());
          ++batches_;
          for (auto& event : events) {
            seen_.push_back(text_of(event));
            events_.push_back(std::move(event));
          }
        },
        std::move(options));
    reflector_->start();
  }

  [[nodiscard]] bool until(const std::function<bool()>& holds) {
    return run_until(*loop_, holds);
  }
  [[nodiscard]] bool until_seen(std::size_t count) {
    return until([&] { return seen_.size() >= count; });
  }
  // Time for what must not happen.
  void settle(std::chrono::milliseconds time = std::chrono::milliseconds(60)) {
    ASSERT_TRUE(run_for(*loop_, time));
  }
  [[nodiscard]] std::vector<HttpRequest> lists() const {
    return requests(false);
  }
  [[nodiscard]] std::vector<HttpRequest> watches() const {
    return requests(true);
  }
  [[nodiscard]] std::vector<HttpRequest> requests(bool watch) const {
    std::vector<HttpRequest> result;
    for (auto& request : server_->requests()) {
      if (request.is_watch() == watch) {
        result.push_back(request);
      }
    }
    return result;
  }

  static void hold(const HttpRequest& /*request*/, Peer& peer, int /*number*/) {
    peer.begin();
    peer.wait_gone();
  }
  static Step always_list(std::string text) {
    return [text = std::move(text)](const HttpRequest&, Peer& peer, int) {
      peer.reply(200, text);
    };
  }

  std::atomic<int> lists_ = 0;  // asked for
  std::atomic<int> watches_ = 0;
  std::unique_ptr<Loop> loop_ = *Loop::create();
  std::function<void(Peer&)> on_definition_ = [](Peer& peer) {
    peer.reply(403, status_object(403, "Forbidden", "may not be read"));
  };
  std::unique_ptr<FakeServer> server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Reflector> reflector_;
  std::vector<std::string> seen_;
  std::vector<Event> events_;
  int batches_ = 0;
};

}  // namespace sluice::kube::test
