// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace sluice::node {

// Serialises JSON with text of any bytes: invalid UTF-8 becomes U+FFFD.
std::string dump(const nlohmann::json& json, int indent = -1);

}  // namespace sluice::node
