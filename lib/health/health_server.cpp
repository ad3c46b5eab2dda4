// SPDX-License-Identifier: Apache-2.0
#include "lib/health/health_server.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include <CivetServer.h>

namespace sluice::health {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kAlive{30};
// How long one who asks waits for metrics of this moment before it gets older
// ones; the program's thread looks every 100 ms.
constexpr std::chrono::milliseconds kFresh{1'500};

void answer(mg_connection* connection, int status, const char* type,
            const std::string& body) {
  mg_printf(connection,
            "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
            "Connection: close\r\n\r\n",
            status, status == 200 ? "OK" : "Service Unavailable", type,
            body.size());
  mg_write(connection, body.data(), body.size());
}

struct Shared {
  std::atomic<Clock::rep> beat{Clock::now().time_since_epoch().count()};
  std::atomic<int> waiting{0};
  std::mutex mutex;  // guards what follows
  std::string problem = "starting";
  std::condition_variable fresh;
  std::uint64_t version = 0;
  std::string metrics;
};

class Healthz final : public CivetHandler {
 public:
  explicit Healthz(Shared& shared) : shared_(shared) {}
  bool handleGet(CivetServer* /*server*/, mg_connection* connection) override {
    const auto age =
        Clock::now().time_since_epoch() - Clock::duration(shared_.beat.load());
    const bool alive = age < kAlive;
    answer(connection, alive ? 200 : 503, "text/plain",
           alive ? "ok\n" : "the main loop hangs\n");
    return true;
  }

 private:
  Shared& shared_;
};

class Readyz final : public CivetHandler {
 public:
  explicit Readyz(Shared& shared) : shared_(shared) {}
  bool handleGet(CivetServer* /*server*/, mg_connection* connection) override {
    std::string problem;
    {
      const std::lock_guard lock(shared_.mutex);
      problem = shared_.problem;
    }
    answer(connection, problem.empty() ? 200 : 503, "text/plain",
           (problem.empty() ? "ok" : problem) + "\n");
    return true;
  }

 private:
  Shared& shared_;
};

class Metrics final : public CivetHandler {
 public:
  explicit Metrics(Shared& shared) : shared_(shared) {}
  bool handleGet(CivetServer* /*server*/, mg_connection* connection) override {
    std::string text;
    {
      std::unique_lock lock(shared_.mutex);
      const auto before = shared_.version;
      ++shared_.waiting;
      shared_.fresh.wait_for(lock, kFresh,
                             [&] { return shared_.version != before; });
      --shared_.waiting;
      text = shared_.metrics;
    }
    answer(connection, 200, "text/plain; version=0.0.4; charset=utf-8", text);
    return true;
  }

 private:
  Shared& shared_;
};

}  // namespace

struct HealthServer::Impl {
  Shared shared;
  Healthz healthz{shared};
  Readyz readyz{shared};
  Metrics metrics{shared};
  std::unique_ptr<CivetServer> server;  // first to go
};

HealthServer::HealthServer() : impl_(std::make_unique<Impl>()) {}
HealthServer::HealthServer(HealthServer&&) noexcept = default;
HealthServer& HealthServer::operator=(HealthServer&&) noexcept = default;
HealthServer::~HealthServer() = default;

Result<HealthServer> HealthServer::open(const std::string& address) {
  HealthServer result;
  auto& impl = *result.impl_;
  const std::vector<std::string> options{
      "listening_ports",    address, "num_threads",       "2",
      "request_timeout_ms", "5000",  "connection_queue",  "16",
      "max_request_size",   "8192",  "enable_keep_alive", "no"};
  try {
    impl.server = std::make_unique<CivetServer>(options);
  } catch (const std::exception& error) {
    return fail(address + ": cannot listen there: " + error.what());
  }
  impl.server->addHandler("/healthz", impl.healthz);
  impl.server->addHandler("/readyz", impl.readyz);
  impl.server->addHandler("/metrics", impl.metrics);
  return result;
}

void HealthServer::beat() {
  impl_->shared.beat = Clock::now().time_since_epoch().count();
}

void HealthServer::set_ready(const std::string& problem) {
  const std::lock_guard lock(impl_->shared.mutex);
  impl_->shared.problem = problem;
}

bool HealthServer::wants_metrics() const {
  return impl_->shared.waiting > 0;
}

void HealthServer::set_metrics(std::string text) {
  const std::lock_guard lock(impl_->shared.mutex);
  impl_->shared.metrics = std::move(text);
  ++impl_->shared.version;
  impl_->shared.fresh.notify_all();
}

}  // namespace sluice::health
