// SPDX-License-Identifier: Apache-2.0
#include "agent/node/apply_state.h"

#include <algorithm>

#include <spdlog/spdlog.h>

namespace sluice::node {

void ApplyState::note(const Result<void>& result) {
  if (result) {
    if (!problem_.empty()) {
      spdlog::info("the policies are in force again");
    }
    problem_.clear();
    retry_at_ = Clock::time_point::max();
    wait_ = kFirst;
    return;
  }
  if (problem_ != result.error().message) {
    problem_ = result.error().message;
    spdlog::error("not in force; the last valid state is kept: {}", problem_);
  }
  retry_later();
  wait_ = std::min(wait_ * 2, kMost);
}

void ApplyState::retry_later() {
  retry_at_ = Clock::now() + wait_;
}

}  // namespace sluice::node
