// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lib/base/durations.h"
#include "lib/flow/cluster.h"
#include "lib/flow/relay.h"
#include "lib/kube/api/client.h"
#include "lib/wire/server.h"
#include "operator/program/cluster_watch.h"
#include "operator/program/policy_status.h"
#include "operator/program/status_writer.h"

namespace sluice::operatord {

struct Measured {
  std::string version;
  std::vector<ClusterWatch::Kind> kinds;
  std::map<std::string, std::size_t> undecodable;  // objects by kind
  std::map<std::string, PolicyStatus::Counts> policies;
  wire::ServerStats server;
  kube::ClientStats api;
  StatusStats status;
  Durations translate_times;
  std::uint64_t revision = 0;
  std::size_t nodes_behind = 0;
  bool leads = false;
  flow::Cluster::Counters flows;
  flow::Relay::Counters relay;
  double certificate_not_after_seconds = 0;  // Unix time; 0: there is none
};

// Returns the metrics in Prometheus' text format.
std::string metrics_text(const Measured& measured);

}  // namespace sluice::operatord
