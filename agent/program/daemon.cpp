// SPDX-License-Identifier: Apache-2.0
#include "agent/program/daemon.h"

#include <chrono>
#include <optional>
#include <utility>

#include <spdlog/spdlog.h>

#include "agent/node/runtime.h"
#include "agent/program/operator_source.h"

namespace sluice::agentd {
namespace {

constexpr std::chrono::milliseconds kTick{100};

}  // namespace

struct Daemon::Impl {
  explicit Impl(DaemonOptions options_in) : options(std::move(options_in)) {}

  DaemonOptions options;
  std::unique_ptr<node::Runtime> runtime;
  std::optional<CniInstaller> cni;
  Timer timer;

  Result<void> open_runtime();
  Result<void> install_cni();
};

Result<void> Daemon::Impl::open_runtime() {
  auto started = node::Runtime::start(
      {.agent = options.agent,
       .socket = options.socket,
       .flows = options.flows,
       .health = options.health},
      std::make_unique<OperatorSource>(OperatorSourceOptions{
          .client = options.client, .deny_unknown = options.deny_unknown}));
  if (!started) {
    return std::unexpected(started.error());
  }
  runtime = std::move(*started);
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

Daemon::Daemon() = default;
Daemon::Daemon(Daemon&&) noexcept = default;
Daemon& Daemon::operator=(Daemon&&) noexcept = default;
Daemon::~Daemon() = default;

Result<Daemon> Daemon::start(DaemonOptions options) {
  Daemon daemon;
  daemon.impl_ = std::make_unique<Impl>(std::move(options));
  auto& impl = *daemon.impl_;
  if (auto opened = impl.open_runtime(); !opened) {
    return std::unexpected(opened.error());
  }
  if (auto installed = impl.install_cni(); !installed) {
    return std::unexpected(installed.error());
  }
  impl.timer = impl.runtime->loop().every(kTick, [&impl] { impl.cni->turn(); });
  impl.cni->turn();
  return daemon;
}

Result<void> Daemon::run() {
  const auto& options = impl_->options;
  spdlog::info("node {}: socket {}, operator {}", options.client.node,
               options.socket.string(), options.client.target);
  return impl_->runtime->run();
}

}  // namespace sluice::agentd
