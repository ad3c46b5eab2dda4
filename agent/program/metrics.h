// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "agent/agent.h"
#include "lib/base/durations.h"
#include "lib/wire/client.h"

namespace sluice::agentd {

struct Measured {
  std::string version;
  std::string node;
  agent::AgentStatus agent;
  wire::ClientStats client;
  Durations apply_times;
  std::uint64_t apply_failures = 0;
  Durations pod_start_times;
  std::uint64_t journal_failures = 0;
  // For how long something received has not been in force.
  std::chrono::duration<double> behind{};
  std::uint64_t received = 0;  // revision
  std::uint64_t applied = 0;   // revision
  bool deny_unknown = false;
};

// Returns the metrics in Prometheus' text format.
std::string metrics_text(const Measured& measured);

}  // namespace sluice::agentd
