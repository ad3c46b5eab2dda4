// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"
#include "lib/flow/cluster_reader.h"
#include "lib/flow/flow_mask.h"

// What a client asks of a cluster. Pure.
namespace sluice::flow {

// The request in these bytes, which may be anything. What is too large is
// refused before it is parsed.
Result<::observer::GetFlowsRequest> parse_flows_request(std::string_view bytes);

// The following ones are internal to ClusterReader.

// Refuses what ClusterReader::open() refuses, and turns the request into what
// the nodes are asked: without a number if all flows are wanted, and with the
// fields that has_end_in() needs. Returns the mask of those fields that the
// client wants. On failure the request is of no use any more.
Result<FlowMask> prepare_request(ClusterReader::Request& request,
                                 const ClusterReaderOptions& options);

// Whether the flow has an end in one of the namespaces; without namespaces,
// every flow has.
bool has_end_in(const ::flow::Flow& flow,
                const std::vector<std::string>& namespaces);

}  // namespace sluice::flow
