// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/agent.h"
#include "agent/node/applied.h"
#include "agent/node/flow_export.h"
#include "lib/flow/flow_counts.h"
#include "lib/health/metric_families.h"

namespace sluice::node {

// The values of the metrics that every program on a node exports, whatever the
// source of its policies.
struct Measured {
  std::string version;
  std::string node;
  agent::AgentStatus agent;
  Applied applied;
  flow::FlowCounts::View flows;
  FlowExport::Counters exported;
};

void add_metrics(health::MetricFamilies& families, const Measured& measured);

}  // namespace sluice::node
