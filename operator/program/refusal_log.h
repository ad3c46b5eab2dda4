// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "operator/enforcement.h"

namespace sluice::operatord {

// Logs which streams were refused and why, at most one every few seconds, and
// counts the others. Belongs to the loop's thread.
class RefusalLog {
 public:
  // `peer`: whose stream it was.
  void add(const std::string& peer, const std::string& why);

 private:
  op::Clock::time_point logged_at_;
  std::uint64_t suppressed_ = 0;
};

}  // namespace sluice::operatord
