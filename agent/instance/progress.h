// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "lib/base/result.h"

namespace sluice::instance {

// What became of the last change of what a node enforces, and when to try again
// what failed. A failure is logged when it begins, when its reason changes and
// when it is over.
class Progress {
 public:
  using Clock = std::chrono::steady_clock;

  void note(const Result<void>& result);
  // Why the policies are not in force; empty if they are.
  [[nodiscard]] const std::string& problem() const { return problem_; }
  // Clock::time_point::max(): there is nothing to do.
  [[nodiscard]] Clock::time_point retry_at() const { return retry_at_; }
  // Something else has failed that the next retry covers.
  void retry_later();

 private:
  static constexpr std::chrono::seconds kFirst{1};
  static constexpr std::chrono::seconds kMost{30};

  std::string problem_;
  Clock::time_point retry_at_ = Clock::time_point::max();
  std::chrono::seconds wait_ = kFirst;
};

}  // namespace sluice::instance
