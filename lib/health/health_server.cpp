// SPDX-License-Identifier: Apache-2.0
#include "lib/health/health_server.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>

#include "lib/health/http_server.h"

namespace sluice::health {
namespace {

using Clock = HttpServer::Clock;
using Answer = HttpServer::Answer;

constexpr std::chrono::seconds kAlive{30};
// How long a request waits for fresh metrics before it gets older ones; the
// program's thread checks every 100 ms.
constexpr std::chrono::milliseconds kFresh{1'500};
// Metrics are measured at most this often, however often they are requested.
constexpr std::chrono::seconds kMeasure{1};

Answer told(const std::string& problem) {
  return {.status = problem.empty() ? 200 : 503,
          .body = (problem.empty() ? "ok" : problem) + "\n"};
}

}  // namespace

struct HealthServer::Impl {
  std::atomic<Clock::rep> beat{0};  // 0: none yet
  std::atomic<bool> wanted{false};  // newer metrics are wanted
  std::mutex mutex;                 // guards what follows
  std::string problem = "starting";
  Clock::time_point measured_at;
  std::string metrics;
  std::optional<HttpServer> server;  // destroyed first

  // The server's thread.
  std::optional<Answer> answer(std::string_view path, Clock::time_point since);
  std::optional<Answer> answer_metrics(Clock::time_point since);
};

std::optional<Answer> HealthServer::Impl::answer(std::string_view path,
                                                 Clock::time_point since) {
  if (path == "/healthz") {
    const Clock::duration last(beat.load());
    if (last == Clock::duration::zero()) {
      return told("starting");
    }
    const auto age = Clock::now().time_since_epoch() - last;
    return told(age < kAlive ? "" : "the main loop hangs");
  }
  if (path == "/readyz") {
    const std::lock_guard lock(mutex);
    return told(problem);
  }
  if (path == "/metrics") {
    return answer_metrics(since);
  }
  return Answer{.status = 404, .body = "/healthz, /readyz, /metrics\n"};
}

std::optional<Answer> HealthServer::Impl::answer_metrics(
    Clock::time_point since) {
  const std::lock_guard lock(mutex);
  if (measured_at < since && Clock::now() - since < kFresh) {
    wanted = true;
    return std::nullopt;
  }
  return Answer{.type = "text/plain; version=0.0.4; charset=utf-8",
                .body = metrics};
}

HealthServer::HealthServer() : impl_(std::make_unique<Impl>()) {}
HealthServer::HealthServer(HealthServer&&) noexcept = default;
HealthServer& HealthServer::operator=(HealthServer&&) noexcept = default;
HealthServer::~HealthServer() = default;

Result<HealthServer> HealthServer::open(const std::string& address) {
  HealthServer result;
  auto opened = HttpServer::open(
      address, [impl = result.impl_.get()](const HttpServer::Request& request) {
        return impl->answer(request.path, request.since);
      });
  if (!opened) {
    return std::unexpected(opened.error());
  }
  result.impl_->server = std::move(*opened);
  return result;
}

int HealthServer::port() const {
  return impl_->server->port();
}

void HealthServer::beat() {
  impl_->beat = Clock::now().time_since_epoch().count();
}

void HealthServer::set_ready(const std::string& problem) {
  const std::lock_guard lock(impl_->mutex);
  impl_->problem = problem;
}

bool HealthServer::wants_metrics() const {
  return impl_->wanted;
}

void HealthServer::set_metrics(std::string text) {
  const std::lock_guard lock(impl_->mutex);
  impl_->metrics = std::move(text);
  impl_->measured_at = Clock::now();
  impl_->wanted = false;
}

void HealthServer::report(const std::string& problem,
                          const std::function<std::string()>& metrics) {
  beat();
  set_ready(problem);
  // Only this thread writes measured_at.
  if (wants_metrics() && Clock::now() - impl_->measured_at >= kMeasure) {
    set_metrics(metrics());
  }
}

}  // namespace sluice::health
