// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/base/ip.h"
#include "lib/flow/record.h"
#include "lib/policy/translator.h"

namespace sluice::flow {

// What created the pod and would replace it, as users know it: the Deployment
// of a ReplicaSet and the CronJob of a Job, by the names that their controllers
// give to what they create; else the pod's controller, or the pod itself if it
// has none.
kube::Owner workload_of(const kube::Pod& pod);

// Who has the address, by the cluster's objects: a pod, a node (an entity), a
// Service, or nobody in the cluster, who is the world. `node`: the name of the
// node that asks, whose own addresses are the host's.
End cluster_end(const policy::Translator& translator, const IpAddress& address,
                const std::string& node);

}  // namespace sluice::flow
