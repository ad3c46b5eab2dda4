// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lib/base/result.h"
#include "operator/program/query_sources.h"

namespace sluice::operatord {

// Answers questions of the web page that need no node: "/api/namespaces" and
// "/api/reach?namespace=&port=", as the page's own server gives them
// (lib/ui/server.h). A matrix that would hold the loop for long is refused.
Result<std::string> page_text(
    const QueryContext& context, const std::string& path,
    const std::vector<std::pair<std::string, std::string>>& arguments);

}  // namespace sluice::operatord
