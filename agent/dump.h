// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "agent/agent.h"
#include "agent/datapath.h"
#include "lib/base/result.h"
#include "sluice/state.h"

namespace sluice::agent {

// Lists the contents of the kernel, which may change meanwhile: elements that
// are added or deleted during the call may be missing, and none is listed
// twice. Sorted by key.
// Of policy entries, those in force.
Result<std::vector<PolicyEntry>> dump_policy(const Datapath& datapath);
Result<std::vector<ConntrackEntry>> dump_conntrack(const Datapath& datapath);

// Leaves out entries of sets that endpoints use under the other generation bit.
// `policy_ids`: of the endpoints' records in force.
void leave_out_standbys(std::vector<PolicyEntry>& entries,
                        const std::unordered_set<std::uint32_t>& policy_ids);

// Counts the elements of a hash by walking through it.
std::uint64_t count_elements(const Datapath& datapath, Map map);
// Sums over processors; reasons that never occurred are left out.
Result<std::vector<AgentStatus::Reason>> read_reasons(const Datapath& datapath);
Result<std::uint64_t> read_events_lost(const Datapath& datapath);

}  // namespace sluice::agent
