// SPDX-License-Identifier: Apache-2.0
#include "agent/program/metrics.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

namespace sluice::agentd {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Families in the order in which they are added.
class Families {
 public:
  MetricFamily& add(const char* name, const char* help, MetricType type) {
    all_.push_back({name, help, type, {}});
    return all_.back();
  }
  void gauge(const char* name, const char* help, double value) {
    auto& metric = add(name, help, MetricType::Gauge).metric.emplace_back();
    metric.gauge.value = value;
  }
  void counter(const char* name, const char* help, std::uint64_t value) {
    auto& metric = add(name, help, MetricType::Counter).metric.emplace_back();
    metric.counter.value = static_cast<double>(value);
  }
  [[nodiscard]] const std::vector<MetricFamily>& all() const { return all_; }

 private:
  std::vector<MetricFamily> all_;
};

ClientMetric labelled(std::vector<ClientMetric::Label> labels) {
  ClientMetric metric;
  metric.label = std::move(labels);
  return metric;
}

void add_build(Families& families, const Measured& measured) {
  auto metric =
      labelled({{"version", measured.version}, {"node", measured.node}});
  metric.gauge.value = 1;
  families
      .add("sluice_agent_build_info", "Version of the agent.",
           MetricType::Gauge)
      .metric.push_back(std::move(metric));
}

void add_verdicts(Families& families, const Measured& measured) {
  std::vector<ClientMetric> packets;
  std::vector<ClientMetric> bytes;
  for (const auto& reason : measured.agent.reasons) {
    auto metric =
        labelled({{"reason", reason.reason}, {"direction", reason.direction}});
    metric.counter.value = static_cast<double>(reason.packets);
    packets.push_back(metric);
    metric.counter.value = static_cast<double>(reason.bytes);
    bytes.push_back(std::move(metric));
  }
  families
      .add("sluice_agent_packets_total",
           "Packets judged, by the reason of the verdict.", MetricType::Counter)
      .metric = std::move(packets);
  families
      .add("sluice_agent_bytes_total",
           "Bytes judged, by the reason of the verdict.", MetricType::Counter)
      .metric = std::move(bytes);
}

void add_maps(Families& families, const Measured& measured) {
  std::vector<ClientMetric> used;
  std::vector<ClientMetric> capacity;
  for (const auto& map : measured.agent.maps) {
    auto metric = labelled({{"map", map.name}});
    metric.gauge.value = static_cast<double>(map.used);
    used.push_back(metric);
    metric.gauge.value = static_cast<double>(map.capacity);
    capacity.push_back(std::move(metric));
  }
  families
      .add("sluice_agent_map_entries", "Entries in a kernel map.",
           MetricType::Gauge)
      .metric = std::move(used);
  families
      .add("sluice_agent_map_capacity", "Entries that a kernel map can hold.",
           MetricType::Gauge)
      .metric = std::move(capacity);
}

void add_endpoints(Families& families, const Measured& measured) {
  const auto& endpoints = measured.agent.endpoints;
  const auto enforced =
      std::ranges::count(endpoints, true, &agent::EndpointStatus::attached);
  auto& family = families.add("sluice_agent_endpoints",
                              "Pods of this node, by whether what is wanted "
                              "is in force for them.",
                              MetricType::Gauge);
  const std::array<std::pair<const char*, double>, 2> states{
      {{"enforced", static_cast<double>(enforced)},
       {"pending",
        static_cast<double>(static_cast<long>(endpoints.size()) - enforced)}}};
  for (const auto& [state, count] : states) {
    auto metric = labelled({{"state", state}});
    metric.gauge.value = count;
    family.metric.push_back(std::move(metric));
  }
  families.gauge("sluice_agent_unclaimed_denied",
                 "Interfaces cut off because no verdict is known for them.",
                 static_cast<double>(measured.agent.unclaimed_denied));
  families.gauge("sluice_agent_deny_unknown",
                 "1 if pods that no verdict is known for are cut off.",
                 measured.deny_unknown ? 1 : 0);
}

void add_apply(Families& families, const Measured& measured) {
  ClientMetric metric;
  const auto& counts = measured.apply_times.counts();
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < ApplyTimes::kBounds.size(); ++i) {
    total += counts[i];
    metric.histogram.bucket.push_back(
        {.cumulative_count = total, .upper_bound = ApplyTimes::kBounds[i]});
  }
  metric.histogram.sample_count = total + counts.back();
  metric.histogram.sample_sum = measured.apply_times.sum();
  families
      .add("sluice_agent_apply_seconds",
           "Time from a transaction's arrival to its being in force.",
           MetricType::Histogram)
      .metric.push_back(std::move(metric));
  families.counter("sluice_agent_apply_failures_total",
                   "Transactions that could not be put into force, and tries "
                   "to do it again.",
                   measured.apply_failures);
}

void add_revisions(Families& families, const Measured& measured) {
  families.gauge("sluice_agent_revision_received",
                 "Last revision received from the operator.",
                 static_cast<double>(measured.received));
  families.gauge("sluice_agent_revision_applied",
                 "Last revision in force; revisions of different operators "
                 "cannot be compared.",
                 static_cast<double>(measured.applied));
  families.gauge(
      "sluice_agent_in_force", "1 if all that was received is in force.",
      measured.received == measured.applied && measured.agent.problem.empty()
          ? 1
          : 0);
}

void add_operator(Families& families, const Measured& measured) {
  const auto& client = measured.client;
  families.gauge("sluice_agent_operator_connected",
                 "1 if the agent is connected to an operator.",
                 client.connected ? 1 : 0);
  families.counter("sluice_agent_operator_connects_total",
                   "Connections to an operator.", client.connects);
  families.counter("sluice_agent_operator_attempts_total",
                   "Tries to connect to an operator.", client.attempts);
  families.counter("sluice_agent_operator_received_bytes_total",
                   "Bytes of messages received.", client.bytes_received);
  families.counter("sluice_agent_operator_refused_updates_total",
                   "Snapshots and transactions that were not valid.",
                   client.refused_updates);
  families.counter("sluice_agent_events_lost_total",
                   "Flow events not reported, over budget or for want of room.",
                   measured.agent.events_lost);
}

}  // namespace

void ApplyTimes::add(std::chrono::duration<double> time) {
  const auto* const slot = std::ranges::lower_bound(kBounds, time.count());
  ++counts_[static_cast<std::size_t>(slot - kBounds.data())];
  sum_ += time.count();
}

std::string metrics_text(const Measured& measured) {
  Families families;
  add_build(families, measured);
  add_verdicts(families, measured);
  add_maps(families, measured);
  add_endpoints(families, measured);
  add_apply(families, measured);
  add_revisions(families, measured);
  add_operator(families, measured);
  return prometheus::TextSerializer().Serialize(families.all());
}

}  // namespace sluice::agentd
