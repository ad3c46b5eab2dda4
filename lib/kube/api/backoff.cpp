// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/backoff.h"

#include <algorithm>

namespace sluice::kube {
namespace {

std::chrono::milliseconds uniform(std::mt19937& random,
                                  std::chrono::milliseconds low,
                                  std::chrono::milliseconds high) {
  std::uniform_int_distribution<std::int64_t> from(low.count(),
                                                   std::max(low, high).count());
  return std::chrono::milliseconds(from(random));
}

}  // namespace

Backoff::Backoff(Duration base, Duration cap)
    : base_(base), cap_(cap), last_(base), random_(std::random_device{}()) {}

Backoff::Duration Backoff::next() {
  last_ = std::min(cap_, uniform(random_, base_, 3 * last_));
  return last_;
}

std::chrono::milliseconds jitter(std::chrono::milliseconds low,
                                 std::chrono::milliseconds high) {
  static thread_local std::mt19937 random(std::random_device{}());
  return uniform(random, low, high);
}

}  // namespace sluice::kube
