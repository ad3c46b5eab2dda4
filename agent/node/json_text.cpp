// SPDX-License-Identifier: Apache-2.0
#include "agent/node/json_text.h"

#include <nlohmann/json.hpp>

namespace sluice::node {

std::string dump(const nlohmann::json& json, int indent) {
  return json.dump(indent, ' ', false,
                   nlohmann::json::error_handler_t::replace);
}

}  // namespace sluice::node
