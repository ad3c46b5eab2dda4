// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/result.h"
#include "observer.pb.h"

namespace sluice::ui {

// Name and value, in the order of the query.
using Arguments = std::vector<std::pair<std::string, std::string>>;

// Of a query; others are refused.
inline constexpr std::size_t kArgumentsMax = 100;
// Flows of an answer.
inline constexpr std::uint64_t kFlowsMax = 1'000;
inline constexpr std::uint64_t kFlowsByDefault = 100;

// The flows of "?from-pod=shop/web&not&port=53&last=50": filters with the names
// of the options of `sluice observe`, "not" before one that leaves out, and
// last, first, since and until. Fails for anything else.
Result<::observer::GetFlowsRequest> parse_flow_query(
    const Arguments& arguments);

// The same with filters alone, for the edges of all flows that are kept and
// those to come.
struct EdgeQuery {
  ::observer::GetFlowsRequest request;
  std::string filters;      // the same text for the same filters
  std::uint64_t view = 0;   // "view": of which the reader knows the edges
  std::uint64_t after = 0;  // "after": up to here
};
Result<EdgeQuery> parse_edge_query(const Arguments& arguments);

}  // namespace sluice::ui
