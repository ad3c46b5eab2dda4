// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/base/result.h"
#include "lib/explain/find_ends.h"
#include "lib/explain/view.h"
#include "lib/policy/translator.h"

namespace sluice::explain {

// Explains by the objects whether a packet passes at both ends, in every
// address family that the two share. Where the receiver is an address of a
// Service or a node port, every backend's ingress is judged too, up to a bound.
//
// Where an end is a prefix, the other end's pod is judged for every part of it
// that is told apart from the rest.
//
// `node`: one of the ends must be a pod of this node; empty: some pod, or the
// receiver a Service. See find_end() for the ends.
Result<ExplainView> explain_cluster(const policy::Translator& translator,
                                    const ExplainRequest& request,
                                    const std::string& node = {},
                                    const KnownPods& known_pods = {});

}  // namespace sluice::explain
