// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/agent.h"
#include "cli/names.h"
#include "cli/views.h"
#include "operator/store.h"
#include "sluice/abi.h"

namespace sluice::cli {

// `endpoint`: "namespace/pod" behind the event's interface, or empty.
FlowView make_flow(const sluice_flow_event& event, const std::string& endpoint,
                   const Names& names, const op::Store& store);

ConntrackView make_conntrack(const agent::ConntrackEntry& entry,
                             const std::string& endpoint, std::uint32_t epoch,
                             const Names& names, const op::Store& store);

}  // namespace sluice::cli
