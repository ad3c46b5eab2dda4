// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace sluice {

// How many durations were of which length, for a histogram. A value.
class Durations {
 public:
  // A duration belongs to the first bound that is not below it; those above the
  // last bound are counted by themselves.
  static constexpr std::array<double, 13> kBoundsSeconds{
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
      0.025,  0.05,    0.1,    0.25,  1,      5};
  using Counts = std::array<std::uint64_t, kBoundsSeconds.size() + 1>;

  void add(std::chrono::duration<double> time);
  // By bound, each duration once.
  [[nodiscard]] const Counts& counts() const { return counts_; }
  [[nodiscard]] double sum_seconds() const { return sum_seconds_; }

 private:
  Counts counts_{};
  double sum_seconds_ = 0;
};

}  // namespace sluice
