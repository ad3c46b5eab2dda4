// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "agent/agent.h"
#include "lib/base/ip.h"
#include "lib/flow/record.h"

namespace sluice::node {

// Tells from successive reads of conntrack which flows go on and which have
// ended. A flow that began and ended between two reads is not told. One thread.
class LongFlows {
 public:
  struct Report {
    agent::ConntrackEntry entry;  // with all that has been counted
    // It was closed, has gone, or is not TCP and had no packets since the last
    // read. What has gone has the counters of the last read.
    bool ended = false;
  };
  // `entries`: as Agent::dump_conntrack() returns them, sorted. Reports flows
  // that the last read had too, and that have had packets since then or have
  // ended. `max`: if there are more, first those that have
  // ended, then those with most bytes.
  std::vector<Report> read(const std::vector<agent::ConntrackEntry>& entries,
                           std::size_t max);

 private:
  struct Known {
    agent::ConntrackEntry entry;
    bool open = true;  // its end has not been reported
  };
  static void compare(const Known& before, Known& now,
                      std::vector<Report>& reports);

  std::vector<Known> known_;  // sorted like the entries
};

// The flow as a record, but for what a recorder adds. nullopt if it has no
// ports, or its packets are denied by now. `local`: the pod's address.
std::optional<flow::Record> traffic_record(const LongFlows::Report& report,
                                           const IpAddress& local);

}  // namespace sluice::node
