// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/flow/flow_counts.h"
#include "lib/health/metric_families.h"

namespace sluice::node {

void add_flow_metrics(health::MetricFamilies& families,
                      const flow::FlowCounts::View& counts);

}  // namespace sluice::node
