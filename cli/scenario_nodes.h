// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli/scenario.h"
#include "lib/base/ip.h"

namespace sluice::cli {

// The addresses that the agents of a cluster would find on its nodes, beside
// those of the Node objects, by node. A scenario has no agents; its nodes are
// taken to have the first two addresses of each of their podCIDRs, as the usual
// plugins give them to a node's tunnel (flannel.1) and bridge (cni0). An
// address of a pod, a Service or a Node object is nobody else's.
std::map<std::string, std::vector<IpAddress>> found_addresses(
    const std::vector<ScenarioObject>& objects);

}  // namespace sluice::cli
