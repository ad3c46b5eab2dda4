// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace sluice::agent {

// Reads the kernel's jiffies by a BPF program, because no file contains them.
// Movable; used by one thread.
class KernelClock {
 public:
  struct Moment {
    std::uint32_t jiffies = 0;  // the low half
    std::uint64_t ns = 0;       // CLOCK_MONOTONIC, read with it
  };

  static Result<KernelClock> open();
  [[nodiscard]] Result<Moment> read() const;
  // Measures the jiffies per second. Takes 70 ms.
  [[nodiscard]] Result<std::uint32_t> measure_hz() const;

 private:
  explicit KernelClock(Fd program) : program_(std::move(program)) {}
  Fd program_;
};

}  // namespace sluice::agent
