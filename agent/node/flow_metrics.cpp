// SPDX-License-Identifier: Apache-2.0
#include "agent/node/flow_metrics.h"

#include <string>
#include <string_view>

#include "lib/explain/text.h"

namespace sluice::node {
namespace {

using health::MetricFamilies;

// The value of every label of the series of those that have none.
constexpr std::string_view kOther = "other";

std::string verdict(bool allowed) {
  return allowed ? "allowed" : "denied";
}

MetricFamilies::Labels labels_of(const flow::FlowCounts::Workload& key) {
  return {{"workload_namespace", key.ns},
          {"workload", key.name},
          {"direction", std::string(explain::direction_text(key.direction))},
          {"verdict", verdict(key.allowed)},
          {"reason", std::string(explain::reason_text(key.reason))}};
}

MetricFamilies::Labels labels_of(const flow::FlowCounts::Rule& key) {
  return {{"policy", key.policy},
          {"rule", key.path},
          {"direction", std::string(explain::direction_text(key.direction))},
          {"verdict", verdict(key.allowed)}};
}

template <typename Key>
MetricFamilies::Samples samples_of(const flow::Counted<Key>& counted) {
  MetricFamilies::Samples samples;
  for (const auto& [key, flows] : counted.items) {
    samples.emplace_back(labels_of(key), static_cast<double>(flows));
  }
  if (counted.others > 0) {
    auto labels = labels_of(Key{});
    for (auto& [name, value] : labels) {
      value = kOther;
    }
    samples.emplace_back(std::move(labels),
                         static_cast<double>(counted.others));
  }
  return samples;
}

}  // namespace

void add_flow_metrics(MetricFamilies& families,
                      const flow::FlowCounts::View& counts) {
  families.counter(
      "sluice_agent_flows_total",
      "New flows and denied packets, by the workload whose policies decided.",
      samples_of(counts.workloads));
  families.counter("sluice_agent_policy_flows_total",
                   "The same, by the rule that decided, and without a rule for "
                   "each policy that isolates the pod.",
                   samples_of(counts.rules));
  MetricFamilies::Samples pairs;
  for (const auto& [pair, flows] : counts.denied) {
    pairs.emplace_back(
        MetricFamilies::Labels{{"source_namespace", pair.source_ns},
                               {"source", pair.source},
                               {"destination_namespace", pair.destination_ns},
                               {"destination", pair.destination}},
        static_cast<double>(flows));
  }
  families.counter("sluice_agent_denied_pair_flows_total",
                   "Denied packets of the pairs that are denied most.", pairs);
}

}  // namespace sluice::node
