// SPDX-License-Identifier: Apache-2.0
#include "operator/program/refusal_log.h"

#include <chrono>

#include <spdlog/spdlog.h>

namespace sluice::operatord {
namespace {

constexpr std::chrono::seconds kInterval{5};

}  // namespace

void RefusalLog::add(const std::string& peer, const std::string& why) {
  const auto now = op::Clock::now();
  if (now - logged_at_ < kInterval) {
    ++suppressed_;
    return;
  }
  logged_at_ = now;
  spdlog::warn("{} refused: {}{}", peer, why,
               suppressed_ == 0
                   ? ""
                   : " (and " + std::to_string(suppressed_) + " more since)");
  suppressed_ = 0;
}

}  // namespace sluice::operatord
