// SPDX-License-Identifier: Apache-2.0
#include "agent/program/metrics.h"

#include <algorithm>
#include <utility>

#include "lib/health/metric_families.h"

namespace sluice::agentd {
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
  families.gauge("sluice_agent_deny_unknown",
                 "1 if pods without a known verdict are cut off.",
                 measured.deny_unknown ? 1 : 0);
}

void add_apply(MetricFamilies& families, const Measured& measured) {
  families.histogram("sluice_agent_apply_seconds",
                     "Time from a transaction's arrival until it is in force.",
                     measured.apply_times);
  families.counter(
      "sluice_agent_apply_failures_total",
      "Failed attempts to put a transaction into force, retries included.",
      measured.apply_failures);
  families.histogram("sluice_agent_pod_start_seconds",
                     "Time that the CNI plugin kept a pod from starting.",
                     measured.pod_start_times);
}

void add_revisions(MetricFamilies& families, const Measured& measured) {
  families.gauge("sluice_agent_revision_received",
                 "Last revision received from the operator.",
                 static_cast<double>(measured.received));
  families.gauge("sluice_agent_revision_applied",
                 "Last revision in force; revisions of different operators "
                 "cannot be compared.",
                 static_cast<double>(measured.applied));
  families.gauge(
      "sluice_agent_in_force", "1 if everything that was received is in force.",
      measured.received == measured.applied && measured.agent.problem.empty()
          ? 1
          : 0);
  families.gauge("sluice_agent_behind_seconds",
                 "For how long something received has not been in force.",
                 measured.behind.count());
}

void add_journal(MetricFamilies& families, const Measured& measured) {
  families.counter(
      "sluice_agent_journal_failures_total",
      "Failed writes of the journal from which the next start of the agent "
      "resumes.",
      measured.journal_failures);
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

void add_operator(MetricFamilies& families, const Measured& measured) {
  const auto& client = measured.client;
  families.gauge("sluice_agent_operator_connected",
                 "1 if the agent is connected to an operator.",
                 client.connected ? 1 : 0);
  families.counter("sluice_agent_operator_connects_total",
                   "Connections to an operator.", client.connects);
  families.counter("sluice_agent_operator_attempts_total",
                   "Attempts to connect to an operator.", client.attempts);
  families.counter("sluice_agent_operator_disconnects_total",
                   "Connections to an operator that ended.",
                   client.disconnects);
  families.counter("sluice_agent_operator_received_bytes_total",
                   "Bytes of messages received.", client.bytes_received);
  families.counter("sluice_agent_operator_refused_updates_total",
                   "Invalid snapshots and transactions.",
                   client.refused_updates);
  families.counter(
      "sluice_agent_events_lost_total",
      "Flow events not reported, because of the budget or a full buffer.",
      measured.agent.events_lost);
}

}  // namespace

std::string metrics_text(const Measured& measured) {
  MetricFamilies families;
  add_build(families, measured);
  add_verdicts(families, measured);
  add_maps(families, measured);
  add_endpoints(families, measured);
  add_apply(families, measured);
  add_revisions(families, measured);
  add_journal(families, measured);
  add_names(families, measured);
  add_operator(families, measured);
  families.process();
  return families.text();
}

}  // namespace sluice::agentd
