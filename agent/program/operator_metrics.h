// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "lib/base/durations.h"
#include "lib/health/metric_families.h"
#include "lib/wire/client.h"

namespace sluice::agentd {

// The values of the metrics that only a node with an operator exports, besides
// those of agent/node/metrics.h.
struct OperatorMeasured {
  wire::ClientStats client;
  Durations pod_start_times;
  std::uint64_t journal_failures = 0;
  bool deny_unknown = false;
};

void add_metrics(health::MetricFamilies& families,
                 const OperatorMeasured& measured);

}  // namespace sluice::agentd
