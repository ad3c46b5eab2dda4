// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "cli/flow_printer.h"
#include "cli/operator_options.h"
#include "lib/base/result.h"

namespace observer {
class GetFlowsRequest;
class GetFlowsResponse;
}  // namespace observer

namespace sluice::cli {

// Calls `take` with what the operator answers, until it returns false or there
// is no more. See read_operator_flows().
Result<void> read_operator_messages(
    const OperatorAccess& access, const ::observer::GetFlowsRequest& request,
    const std::function<bool(const ::observer::GetFlowsResponse& message)>&
        take);

// Prints the flows that the request asks for, of all nodes, from the operator.
// Returns the exit status.
int observe_operator(const OperatorAccess& access,
                     const ::observer::GetFlowsRequest& request,
                     FlowFormat format);

}  // namespace sluice::cli
