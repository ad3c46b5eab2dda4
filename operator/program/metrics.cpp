// SPDX-License-Identifier: Apache-2.0
#include "operator/program/metrics.h"

#include <utility>

#include "lib/health/metric_families.h"

namespace sluice::operatord {
namespace {

using health::MetricFamilies;
using Samples = MetricFamilies::Samples;

template <typename Value>
Samples by_kind(const std::vector<ClusterWatch::Kind>& kinds,
                const Value& value) {
  Samples samples;
  for (const auto& kind : kinds) {
    samples.emplace_back(MetricFamilies::Labels{{"kind", kind.kind}},
                         static_cast<double>(value(kind)));
  }
  return samples;
}

void add_watches(MetricFamilies& families, const Measured& measured) {
  const auto& kinds = measured.kinds;
  families.gauge("sluice_operator_objects",
                 "Objects that the API server has, by kind.",
                 by_kind(kinds, [](const auto& k) { return k.objects; }));
  families.gauge(
      "sluice_operator_watch_synced",
      "1 if all objects of a kind have been listed once.",
      by_kind(kinds, [](const auto& k) { return k.synced ? 1 : 0; }));
  families.counter(
      "sluice_operator_watch_events_total",
      "Objects that were added, changed or deleted.",
      by_kind(kinds, [](const auto& k) { return k.stats.events; }));
  families.counter(
      "sluice_operator_watch_restarts_total",
      "Lists and watches that ended with an error and were restarted.",
      by_kind(kinds, [](const auto& k) { return k.stats.failures; }));
  // A policy may be counted in both maps, but a series may be exported only
  // once.
  auto counts_invalid = measured.undecodable;
  for (const auto& [kind, counts] : measured.policies) {
    counts_invalid[kind] += counts.invalid;
  }
  Samples invalid;
  for (const auto& [kind, count] : counts_invalid) {
    invalid.emplace_back(MetricFamilies::Labels{{"kind", kind}},
                         static_cast<double>(count));
  }
  families.gauge("sluice_operator_invalid_objects",
                 "Objects whose newest version is invalid.", invalid);
}

void add_policies(MetricFamilies& families, const Measured& measured) {
  Samples samples;
  const auto add = [&](const std::string& kind, const char* condition,
                       std::size_t count) {
    samples.emplace_back(
        MetricFamilies::Labels{{"kind", kind}, {"condition", condition}},
        static_cast<double>(count));
  };
  for (const auto& [kind, counts] : measured.policies) {
    add(kind, "Valid", counts.valid);
    if (measured.leads) {
      add(kind, "Enforced", counts.enforced);
    }
  }
  families.gauge(
      "sluice_operator_policies",
      "Policies whose condition is true; only the leading replica knows "
      "Enforced.",
      samples);
}

void add_distribution(MetricFamilies& families, const Measured& measured) {
  const auto& server = measured.server;
  families.gauge("sluice_operator_agents_connected",
                 "Agents connected to this replica.",
                 static_cast<double>(server.agents));
  families.gauge(
      "sluice_operator_streams",
      "Open streams, including those of agents that are not authenticated yet.",
      static_cast<double>(server.streams));
  families.counter("sluice_operator_streams_refused_total",
                   "Streams refused or ended because of their behaviour.",
                   server.refused);
  families.counter("sluice_operator_snapshots_sent_total",
                   "Snapshots sent to agents.", server.snapshots_sent);
  families.counter("sluice_operator_transactions_sent_total",
                   "Transactions sent to agents.", server.transactions_sent);
  families.counter("sluice_operator_bytes_sent_total",
                   "Bytes of messages sent to agents.", server.bytes_sent);
  families.gauge(
      "sluice_operator_nodes_behind",
      "Nodes of this replica that have not yet put everything into force that "
      "was sent.",
      static_cast<double>(measured.nodes_behind));
  families.gauge("sluice_operator_revision",
                 "Sets of changes translated; every replica counts its own.",
                 static_cast<double>(measured.revision));
  families.histogram(
      "sluice_operator_translate_seconds",
      "Time to translate a set of changes and pass it to the streams.",
      measured.translate_times);
}

void add_api(MetricFamilies& families, const Measured& measured) {
  families.counter("sluice_operator_api_requests_total",
                   "Requests to the API server.", measured.api.requests);
  families.counter("sluice_operator_api_failures_total",
                   "Requests to the API server that failed.",
                   measured.api.failures);
  families.gauge("sluice_operator_leader", "1 if this replica writes status.",
                 measured.leads ? 1 : 0);
  families.counter("sluice_operator_status_writes_total",
                   "Writes of a policy's status.", measured.status.writes);
  families.counter("sluice_operator_status_write_failures_total",
                   "Failed writes of status and events, retries included.",
                   measured.status.failures);
  families.counter("sluice_operator_events_total",
                   "Events created about policies.", measured.status.events);
  families.gauge("sluice_operator_certificate_expiration_timestamp_seconds",
                 "When the certificate for agents expires; 0: there is none.",
                 measured.certificate_not_after_seconds);
}

void add_flows(MetricFamilies& families, const Measured& measured) {
  families.gauge("sluice_operator_flow_calls",
                 "Calls of clients that read flows.",
                 static_cast<double>(measured.flows.calls));
  families.counter("sluice_operator_flow_calls_refused_total",
                   "Such calls that were refused because there were too many.",
                   measured.flows.refused);
  families.gauge("sluice_operator_flow_nodes",
                 "Nodes that can be asked for flows, here or by way of another "
                 "replica.",
                 static_cast<double>(measured.relay.nodes));
}

}  // namespace

std::string metrics_text(const Measured& measured) {
  MetricFamilies families;
  families.gauge("sluice_operator_build_info", "Version of the operator.",
                 {{{{"version", measured.version}}, 1}});
  add_watches(families, measured);
  add_policies(families, measured);
  add_distribution(families, measured);
  add_api(families, measured);
  add_flows(families, measured);
  families.process();
  return families.text();
}

}  // namespace sluice::operatord
