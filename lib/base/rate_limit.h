// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

namespace sluice {

// A token bucket: permits `per_second` operations a second on average, and as
// many at once, at least one. It begins full. A value; the caller gives the
// time, which must not go back.
class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;

  explicit RateLimit(double per_second)
      : per_second_(per_second),
        most_(std::max(1.0, per_second)),
        tokens_(most_) {}

  // True if the operation is permitted now; it then counts.
  [[nodiscard]] bool take(Clock::time_point now) {
    const std::chrono::duration<double> since = now - filled_at_;
    tokens_ = std::min(most_, tokens_ + (since.count() * per_second_));
    filled_at_ = now;
    if (tokens_ < 1) {
      return false;
    }
    tokens_ -= 1;
    return true;
  }

 private:
  double per_second_;
  double most_;
  double tokens_;
  Clock::time_point filled_at_;
};

}  // namespace sluice
