// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "lib/base/durations.h"

namespace sluice::node {

// How far the node is with what its source has given.
struct Applied {
  using Clock = std::chrono::steady_clock;

  std::uint64_t received = 0;  // revision
  std::uint64_t applied = 0;   // revision
  Durations times;             // from receipt until it is in force
  std::uint64_t failures = 0;  // of attempts
  // Since when something received has not been in force.
  std::optional<Clock::time_point> behind_since;
};

}  // namespace sluice::node
