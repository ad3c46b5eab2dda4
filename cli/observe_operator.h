// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/flow_printer.h"
#include "cli/operator_options.h"

namespace observer {
class GetFlowsRequest;
}

namespace sluice::cli {

// Prints the flows that the request asks for, of all nodes, from the operator.
// Returns the exit status.
int observe_operator(const OperatorAccess& access,
                     const ::observer::GetFlowsRequest& request,
                     FlowFormat format);

}  // namespace sluice::cli
