// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "lib/base/result.h"

namespace sluice::node {

// Whether the wanted state is in force: the outcome of the last attempt, and
// the time of the next one after a failure. A failure is logged when it begins,
// when its reason changes and when it ends.
class ApplyState {
 public:
  using Clock = std::chrono::steady_clock;

  void note(const Result<void>& result);
  // Why the policies are not in force; empty if they are.
  [[nodiscard]] const std::string& problem() const { return problem_; }
  // Time of the next retry; Clock::time_point::max() if there is none.
  [[nodiscard]] Clock::time_point retry_at() const { return retry_at_; }
  // Another failure that the next retry covers.
  void retry_later();

 private:
  static constexpr std::chrono::seconds kFirst{1};
  static constexpr std::chrono::seconds kMost{30};

  std::string problem_;
  Clock::time_point retry_at_ = Clock::time_point::max();
  std::chrono::seconds wait_ = kFirst;
};

}  // namespace sluice::node
