// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/operator_options.h"
#include "lib/base/result.h"

namespace sluice::cli {

// Asks the operator of a cluster through the API server, and gives its answer
// as JSON. `path`: see operator/program/query_server.h. Needs the rights of the
// Role sluice-explain. Waits for some seconds at most.
using QueryArguments = std::vector<std::pair<std::string, std::string>>;
Result<std::string> ask_operator(const OperatorAccess& access,
                                 std::string_view path,
                                 const QueryArguments& arguments = {});

// Reads flows: calls `take` with each GetFlowsResponse, as JSON, until it
// returns false or there are no more. `request`: a GetFlowsRequest as bytes.
// `follow`: the answer may have no end. Needs the rights of the Role
// sluice-observer, or of the service account that is named instead.
Result<void> read_operator_flows(
    const OperatorAccess& access, const std::string& request, bool follow,
    const std::function<bool(const std::string& response)>& take);

}  // namespace sluice::cli
