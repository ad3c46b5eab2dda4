// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/explain/reach_view.h"
#include "lib/policy/translator.h"

namespace sluice::explain {

// Judges every pair of workloads, and of a workload and an end outside of all
// pods, at every port: as explain_cluster() does for each pair of their pods.
//
// Pods that no rule tells apart are judged once. The work is therefore that of
// the policy sets, the classes of peers and the ports that there are, not of
// all pairs of pods.
//
// `pods`: those that the answer is about, "namespace/name". `namespaces`: the
// known ones. Fails for a namespace that there is not, and for what is no port.
Result<ReachView> reach(const policy::Translator& translator,
                        const ReachRequest& request,
                        const std::vector<std::string>& pods,
                        const std::vector<std::string>& namespaces);

}  // namespace sluice::explain
