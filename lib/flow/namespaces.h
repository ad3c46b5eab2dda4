// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <vector>

#include "observer.pb.h"

namespace sluice::flow {

// The namespaces in which a request's white list names ends: those in which
// its sender may need a right if it has none for the whole cluster.
std::set<std::string> named_namespaces(
    const ::observer::GetFlowsRequest& request);

// True if every flow that the request can match has an end in one of the
// namespaces: each filter of its white list names, for one end, only pods or
// Services there.
bool is_within(const ::observer::GetFlowsRequest& request,
               const std::vector<std::string>& namespaces);

}  // namespace sluice::flow
