// SPDX-License-Identifier: Apache-2.0
#include "agent/program/operator_metrics.h"

namespace sluice::agentd {
namespace {

using health::MetricFamilies;

void add_pods(MetricFamilies& families, const OperatorMeasured& measured) {
  families.histogram("sluice_agent_pod_start_seconds",
                     "Time that the CNI plugin kept a pod from starting.",
                     measured.pod_start_times);
  families.gauge("sluice_agent_deny_unknown",
                 "1 if pods without a known verdict are cut off.",
                 measured.deny_unknown ? 1 : 0);
}

void add_journal(MetricFamilies& families, const OperatorMeasured& measured) {
  families.counter(
      "sluice_agent_journal_failures_total",
      "Failed writes of the journal from which the next start of the agent "
      "resumes.",
      measured.journal_failures);
}

void add_operator(MetricFamilies& families, const OperatorMeasured& measured) {
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
}

}  // namespace

void add_metrics(MetricFamilies& families, const OperatorMeasured& measured) {
  add_pods(families, measured);
  add_journal(families, measured);
  add_operator(families, measured);
}

}  // namespace sluice::agentd
