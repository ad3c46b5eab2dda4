// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace sluice::wire {

using Clock = std::chrono::steady_clock;

// One descriptor that becomes readable when another thread calls notify(), or
// at a set time. All members except notify() are for the owner's thread.
class Poller {
 public:
  static Result<Poller> open();

  [[nodiscard]] int fd() const { return epoll_.get(); }
  // From any thread.
  void notify() const;
  // Resets earlier notify() calls, and the time if it has passed.
  void drain() const;
  // Sets the time; time_point::max() = none.
  void wake_at(Clock::time_point moment) const;

 private:
  Poller() = default;
  Fd epoll_;
  Fd event_;
  Fd timer_;
};

}  // namespace sluice::wire
