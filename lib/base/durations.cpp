// SPDX-License-Identifier: Apache-2.0
#include "lib/base/durations.h"

#include <algorithm>

namespace sluice {

void Durations::add(std::chrono::duration<double> time) {
  const auto* const slot =
      std::ranges::lower_bound(kBoundsSeconds, time.count());
  ++counts_[static_cast<std::size_t>(slot - kBoundsSeconds.data())];
  sum_seconds_ += time.count();
}

}  // namespace sluice
