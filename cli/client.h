// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "lib/base/result.h"

namespace sluice::cli {

// Sends a request to the running program. The reply is {"view": ...}, followed
// by any number of {"rows": [...]}, which are appended to the view's member
// `rows_member`. Fails if no program is running, if it does not answer in time
// or if it answers {"error"}.
Result<nlohmann::json> ask(const std::filesystem::path& socket,
                           const nlohmann::json& request,
                           const char* rows_member = "");

// Calls `handler` for every line that the running program sends, until it
// returns false or the connection ends.
Result<void> follow(const std::filesystem::path& socket,
                    const nlohmann::json& request,
                    const std::function<bool(const nlohmann::json&)>& handler);

}  // namespace sluice::cli
