// SPDX-License-Identifier: Apache-2.0
#include "operator/program/health_port.h"

#include <cerrno>
#include <chrono>
#include <utility>

#include <spdlog/spdlog.h>

namespace sluice::operatord {
namespace {

using op::Clock;

// How often a replica that stands by checks whether the port is free.
constexpr std::chrono::milliseconds kAgain{200};
constexpr std::chrono::milliseconds kAgainAfterFailure{2'000};

}  // namespace

Result<void> HealthPort::open() {
  if (address_.empty() || server_) {
    return {};
  }
  auto opened = health::HealthServer::open(address_);
  if (opened) {
    server_ = std::move(*opened);
    if (std::exchange(standing_by_, false)) {
      spdlog::info("{} is free: this replica no longer stands by", address_);
    }
    return {};
  }
  if (opened.error().code != EADDRINUSE) {
    return std::unexpected(opened.error());
  }
  if (!std::exchange(standing_by_, true)) {
    spdlog::warn(
        "{}; another replica serves on this node, and this one stands by",
        opened.error().message);
  }
  again_at_ = Clock::now() + kAgain;
  return {};
}

void HealthPort::turn(Clock::time_point now) {
  if (!standing_by_ || now < again_at_) {
    return;
  }
  if (auto opened = open(); !opened) {
    spdlog::error("{}", opened.error().message);
    again_at_ = Clock::now() + kAgainAfterFailure;
  }
}

void HealthPort::report(const std::string& problem,
                        const std::function<std::string()>& metrics) {
  if (server_) {
    server_->report(problem, metrics);
  }
}

}  // namespace sluice::operatord
