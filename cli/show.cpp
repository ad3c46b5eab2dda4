// SPDX-License-Identifier: Apache-2.0
#include "cli/show.h"

#include <algorithm>
#include <vector>

#include <nlohmann/json.hpp>

#include "agent/node/views_json.h"
#include "lib/base/suggestion.h"

namespace sluice::cli {

Result<void> check_endpoint(const std::filesystem::path& socket,
                            const std::string& name) {
  const auto view =
      ask_view<node::EndpointListView>(socket, {{"command", "endpoint list"}});
  if (!view) {
    return std::unexpected(view.error());
  }
  std::vector<std::string> known;
  for (const auto& endpoint : view->endpoints) {
    known.push_back(endpoint.name);
  }
  if (std::ranges::find(known, name) != known.end()) {
    return {};
  }
  return fail("--endpoint: the node has no pod \"" + name +
              "\" with an address" + did_you_mean(name, known));
}

}  // namespace sluice::cli
