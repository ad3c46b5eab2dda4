// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>

#include "agent/agent.h"
#include "lib/wire/client.h"

namespace sluice::agentd {

// How long transactions took to apply.
class ApplyTimes {
 public:
  static constexpr std::array<double, 10> kBounds{
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5};
  void add(std::chrono::duration<double> time);

  [[nodiscard]] const std::array<std::uint64_t, kBounds.size() + 1>& counts()
      const {
    return counts_;
  }
  [[nodiscard]] double sum() const { return sum_; }

 private:
  std::array<std::uint64_t, kBounds.size() + 1> counts_{};
  double sum_ = 0;
};

struct Measured {
  std::string version;
  std::string node;
  agent::AgentStatus agent;
  wire::ClientStats client;
  ApplyTimes apply_times;
  std::uint64_t apply_failures = 0;
  std::uint64_t received = 0;  // revision
  std::uint64_t applied = 0;   // revision
  bool deny_unknown = false;
};

// In Prometheus' text format.
std::string metrics_text(const Measured& measured);

}  // namespace sluice::agentd
