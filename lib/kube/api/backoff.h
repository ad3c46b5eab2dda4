// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <random>

namespace sluice::kube {

// Decorrelated jittered exponential back-off: each delay is drawn from [base, 3
// * last delay], and never above `cap`. A value; one thread.
class Backoff {
 public:
  using Duration = std::chrono::milliseconds;

  Backoff(Duration base, Duration cap);
  // The next delay.
  Duration next();
  // Resets to the initial state.
  void reset() { last_ = base_; }

 private:
  Duration base_;
  Duration cap_;
  Duration last_;
  std::mt19937 random_;
};

// Uniform from [low, high].
std::chrono::milliseconds jitter(std::chrono::milliseconds low,
                                 std::chrono::milliseconds high);

}  // namespace sluice::kube
