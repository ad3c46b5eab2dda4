// SPDX-License-Identifier: Apache-2.0
#include "agent/node/metrics.h"

#include <algorithm>
#include <chrono>

#include "agent/node/flow_metrics.h"

namespace sluice::node {
namespace {

using health::MetricFamilies;

void add_build(MetricFamilies& families, const Measured& measured) {
  families.gauge(
      "sluice_agent_build_info", "Version of the agent.",
      {{{{"version", measured.version}, {"node", measured.node}}, 1}});
}

void add_verdicts(MetricFamilies& families, const Measured& measured) {
  MetricFamilies::Samples packets;
  MetricFamilies::Samples bytes;
  for (const auto& reason : measured.agent.reasons) {
    const MetricFamilies::Labels labels{
        {"reason", reason.reason},
        {"direction", reason.direction},
        {"verdict", reason.allowed ? "allowed" : "denied"}};
    packets.emplace_back(labels, static_cast<double>(reason.packets));
    bytes.emplace_back(labels, static_cast<double>(reason.bytes));
  }
  families.counter("sluice_agent_packets_total",
                   "Packets judged, by the reason of the verdict.", packets);
  families.counter("sluice_agent_bytes_total",
                   "Bytes judged, by the reason of the verdict.", bytes);
}

void add_maps(MetricFamilies& families, const Measured& measured) {
  MetricFamilies::Samples used;
  MetricFamilies::Samples capacity;
  for (const auto& map : measured.agent.maps) {
    const MetricFamilies::Labels labels{{"map", map.name}};
    used.emplace_back(labels, static_cast<double>(map.used));
    capacity.emplace_back(labels, static_cast<double>(map.capacity));
  }
  families.gauge("sluice_agent_map_entries", "Entries in a kernel map.", used);
  families.gauge("sluice_agent_map_capacity",
                 "Entries that a kernel map can hold.", capacity);
}

void add_endpoints(MetricFamilies& families, const Measured& measured) {
  const auto& endpoints = measured.agent.endpoints;
  const auto enforced =
      std::ranges::count(endpoints, true, &agent::EndpointStatus::attached);
  const auto pending = static_cast<long>(endpoints.size()) - enforced;
  families.gauge("sluice_agent_endpoints",
                 "Pods of this node, by whether their policies are in force.",
                 {{{{"state", "enforced"}}, static_cast<double>(enforced)},
                  {{{"state", "pending"}}, static_cast<double>(pending)}});
  families.gauge("sluice_agent_unclaimed_denied",
                 "Interfaces cut off because no verdict is known for them.",
                 static_cast<double>(measured.agent.unclaimed_denied));
}

void add_apply(MetricFamilies& families, const Measured& measured) {
  families.histogram("sluice_agent_apply_seconds",
                     "Time from a transaction's arrival until it is in force.",
                     measured.applied.times);
  families.counter(
      "sluice_agent_apply_failures_total",
      "Failed attempts to put a transaction into force, retries included.",
      measured.applied.failures);
}

void add_revisions(MetricFamilies& families, const Measured& measured) {
  const auto& applied = measured.applied;
  families.gauge("sluice_agent_revision_received", "Last revision received.",
                 static_cast<double>(applied.received));
  families.gauge("sluice_agent_revision_applied",
                 "Last revision in force; revisions of different operators "
                 "cannot be compared.",
                 static_cast<double>(applied.applied));
  families.gauge(
      "sluice_agent_in_force", "1 if everything that was received is in force.",
      applied.received == applied.applied && measured.agent.problem.empty()
          ? 1
          : 0);
  const std::chrono::duration<double> behind =
      applied.behind_since ? Applied::Clock::now() - *applied.behind_since
                           : Applied::Clock::duration::zero();
  families.gauge("sluice_agent_behind_seconds",
                 "For how long something received has not been in force.",
                 behind.count());
}

void add_names(MetricFamilies& families, const Measured& measured) {
  const auto& names = measured.agent.names;
  families.counter("sluice_agent_dns_held_total",
                   "DNS messages held until their names were known.",
                   names.held.held);
  families.counter("sluice_agent_dns_held_lost_total",
                   "DNS messages that were held and lost.",
                   names.held.lost + (names.held.held - names.held.resent));
  families.histogram("sluice_agent_dns_hold_seconds",
                     "Time for which a DNS message was held.",
                     names.held.hold_times);
  families.counter("sluice_agent_dns_assembled_total",
                   "DNS answers that came in several packets, or were too "
                   "large for the datapath, and from which the agent learned.",
                   names.assembled);
  families.counter(
      "sluice_agent_names_over_limit_total",
      "Times that a name was stored without all patterns that match it.",
      names.too_many);
  families.counter(
      "sluice_agent_learned_addresses_total",
      "Addresses that pods have learned, counted with every answer.",
      names.learned);
  families.gauge("sluice_agent_learned_addresses_without_room",
                 "Addresses that pods have learned beyond the maximum of each.",
                 static_cast<double>(names.without_room));
  families.counter(
      "sluice_agent_names_forgotten_total",
      "Names that have made room for others, and are held when they come back.",
      names.names_forgotten);
  families.counter(
      "sluice_agent_lookups_forgotten_total",
      "Addresses of names that have made room for others before they had "
      "expired; policies that come later do not know them.",
      names.lookups_forgotten);
}

void add_events(MetricFamilies& families, const Measured& measured) {
  families.counter(
      "sluice_agent_events_lost_total",
      "Flow events not reported, because of the budget or a full buffer.",
      measured.agent.events_lost);
}

void add_export(MetricFamilies& families, const Measured& measured) {
  const auto& exported = measured.exported;
  families.counter("sluice_agent_flows_exported_total",
                   "Flows written to the file of --export-file.",
                   exported.flows);
  families.counter("sluice_agent_flow_export_lost_total",
                   "Flows not exported, because they were overwritten before.",
                   exported.lost);
  families.counter("sluice_agent_flow_export_failures_total",
                   "Failed attempts to write to the file of --export-file.",
                   exported.failures);
}

}  // namespace

void add_metrics(MetricFamilies& families, const Measured& measured) {
  add_build(families, measured);
  add_verdicts(families, measured);
  add_maps(families, measured);
  add_endpoints(families, measured);
  add_apply(families, measured);
  add_revisions(families, measured);
  add_names(families, measured);
  add_events(families, measured);
  add_flow_metrics(families, measured.flows);
  add_export(families, measured);
}

}  // namespace sluice::node
