// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace sluice::testing {

// A program that does to a packet what bytes alone cannot say, and then calls
// a program of the datapath in its place.
class Front {
 public:
  // Gives the packet a VLAN tag beside its bytes, as network cards do.
  static Result<Front> tag(int target);
  // Cuts the packet to the length in cb[0]: shorter than a test run may begin.
  static Result<Front> cut(int target);

  [[nodiscard]] int fd() const { return program_.get(); }

 private:
  Fd slots_;
  Fd program_;
};

}  // namespace sluice::testing
