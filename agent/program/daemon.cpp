// SPDX-License-Identifier: Apache-2.0
#include "agent/program/daemon.h"

#include <chrono>
#include <optional>
#include <utility>

#include <spdlog/spdlog.h>

#include "agent/node/runtime.h"
#include "agent/program/metrics.h"
#include "agent/program/operator_source.h"
#include "lib/health/health_server.h"

namespace sluice::agentd {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kTick{100};
// Metrics are measured at most this often, however often they are requested.
constexpr seconds kMeasure{1};

}  // namespace

struct Daemon::Impl {
  explicit Impl(DaemonOptions options_in) : options(std::move(options_in)) {}

  DaemonOptions options;
  std::unique_ptr<node::Runtime> runtime;
  OperatorSource* source = nullptr;  // belongs to the runtime
  std::optional<health::HealthServer> health;
  std::optional<CniInstaller> cni;
  Clock::time_point measured_at;
  Timer timer;

  Result<void> open_runtime();
  Result<void> open_health();
  Result<void> install_cni();
  void tick();
};

Result<void> Daemon::Impl::open_runtime() {
  auto made = std::make_unique<OperatorSource>(OperatorSourceOptions{
      .client = options.client, .deny_unknown = options.deny_unknown});
  source = made.get();
  auto started =
      node::Runtime::start({.agent = options.agent,
                            .socket = options.socket,
                            .observer_socket = options.observer_socket,
                            .flows = options.flows},
                           std::move(made));
  if (!started) {
    return std::unexpected(started.error());
  }
  runtime = std::move(*started);
  return {};
}

Result<void> Daemon::Impl::open_health() {
  if (options.health.empty()) {
    return {};
  }
  auto listening = health::HealthServer::open(options.health);
  if (!listening) {
    return std::unexpected(listening.error());
  }
  health = std::move(*listening);
  return {};
}

// This comes last, because the plugin that runtimes then call needs this
// process.
Result<void> Daemon::Impl::install_cni() {
  auto installed = CniInstaller::start(options.cni);
  if (!installed) {
    return std::unexpected(installed.error());
  }
  cni = std::move(*installed);
  return {};
}

void Daemon::Impl::tick() {
  cni->turn();
  if (!health) {
    return;
  }
  health->beat();
  health->set_ready(source->unready());
  if (const auto now = Clock::now();
      health->wants_metrics() && now - measured_at >= kMeasure) {
    measured_at = now;
    health->set_metrics(metrics_text(source->measured()));
  }
}

Daemon::Daemon() = default;
Daemon::Daemon(Daemon&&) noexcept = default;
Daemon& Daemon::operator=(Daemon&&) noexcept = default;
Daemon::~Daemon() = default;

Result<Daemon> Daemon::start(DaemonOptions options) {
  Daemon daemon;
  daemon.impl_ = std::make_unique<Impl>(std::move(options));
  using Step = Result<void> (Impl::*)();
  for (const Step step :
       {&Impl::open_runtime, &Impl::open_health, &Impl::install_cni}) {
    if (auto done = (*daemon.impl_.*step)(); !done) {
      return std::unexpected(done.error());
    }
  }
  auto& impl = *daemon.impl_;
  impl.timer = impl.runtime->loop().every(kTick, [&impl] { impl.tick(); });
  impl.tick();
  return daemon;
}

Result<void> Daemon::run() {
  const auto& options = impl_->options;
  spdlog::info("node {}: socket {}, operator {}", options.client.node,
               options.socket.string(), options.client.target);
  return impl_->runtime->run();
}

}  // namespace sluice::agentd
