// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/base/ip.h"
#include "lib/flow/record.h"
#include "lib/policy/translator.h"

namespace sluice::flow {

// Who has the address, by the cluster's objects: a pod, a node (an entity), a
// Service, or nobody in the cluster, who is the world. `node`: the name of the
// node that asks, whose own addresses are the host's.
End cluster_end(const policy::Translator& translator, const IpAddress& address,
                const std::string& node);

}  // namespace sluice::flow
