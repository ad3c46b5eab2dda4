// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/kube/objects.h"

namespace sluice::kube {

// What created the pod and would replace it, as users know it: the Deployment
// of a ReplicaSet and the CronJob of a Job, by the names that their controllers
// give to what they create; else the pod's controller, or the pod itself if it
// has none.
Owner workload_of(const Pod& pod);

}  // namespace sluice::kube
