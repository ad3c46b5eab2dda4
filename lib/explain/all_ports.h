// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "lib/base/result.h"
#include "lib/explain/find_ends.h"
#include "lib/explain/view.h"
#include "lib/policy/translator.h"

namespace sluice::explain {

// As explain_cluster(), for every port that the policies of the two ends or the
// receiver's containers name, and one that stands for all others of each
// protocol; of a Service, for its ports. Those with the same verdicts by the
// same rules are one answer, whose `port` lists them ("80/TCP, other/UDP") and
// whose details are those of the first. Near misses are left out: they are
// about a single port. `request.port` is not read.
Result<std::vector<ExplainView>> explain_all_ports(
    const policy::Translator& translator, const ExplainRequest& request,
    const KnownPods& known_pods);

}  // namespace sluice::explain
