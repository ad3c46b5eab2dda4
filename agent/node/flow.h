// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "agent/agent.h"
#include "agent/node/names.h"
#include "agent/node/views.h"
#include "lib/base/ip.h"
#include "sluice/abi.h"

namespace sluice::node {

// Returns the owner of an address, or an empty text.
using NameOf = std::function<std::string(const IpAddress&)>;

// `endpoint`: "namespace/pod" behind the event's interface, or empty.
FlowView make_flow(const sluice_flow_event& event, const std::string& endpoint,
                   const Names& names, const NameOf& name_of);

ConntrackView make_conntrack(const agent::ConntrackEntry& entry,
                             const std::string& endpoint, std::uint32_t epoch,
                             const Names& names, const NameOf& name_of);

}  // namespace sluice::node
