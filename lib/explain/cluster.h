// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/explain/view.h"
#include "lib/policy/translator.h"

namespace sluice::explain {

// The names of all pods, "namespace/pod".
using KnownPods = std::function<std::vector<std::string>()>;

// Explains by the objects whether a packet passes at both ends, in every
// address family that the two share. Where the receiver is an address of a
// Service or a node port, every backend's ingress is judged too, up to a bound.
//
// `node`: one of the ends must be a pod of this node; empty: some pod, or the
// receiver a Service. Fails for an end that does not exist, and says which of
// the known pods may be meant; they are asked for only then.
Result<ExplainView> explain_cluster(const policy::Translator& translator,
                                    const ExplainRequest& request,
                                    const std::string& node = {},
                                    const KnownPods& known_pods = {});

}  // namespace sluice::explain
