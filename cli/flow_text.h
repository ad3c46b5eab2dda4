// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace flow {
class Flow;
}  // namespace flow
namespace observer {
class GetFlowsResponse;
}

// Flows as text for people. All of it is printable.
namespace sluice::cli {

// One line: time, node, ends, type, verdict, what decided.
std::string compact_text(const ::flow::Flow& flow);
// Several lines, one for each field.
std::string dict_text(const ::flow::Flow& flow);
// That events were lost, and that a node's state has changed.
std::string lost_text(const ::observer::GetFlowsResponse& response);
std::string status_text(const ::observer::GetFlowsResponse& response);

}  // namespace sluice::cli
