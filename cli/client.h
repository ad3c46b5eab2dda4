// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "lib/base/result.h"

namespace sluice::cli {

// Asks the running instance. Replies are {"view": ...}, followed by any number
// of {"rows": [...]}, which go to the view's member `rows_member`.
// An error if there is none, if it does not answer in time or says {"error"}.
Result<nlohmann::json> ask(const std::filesystem::path& socket,
                           const nlohmann::json& request,
                           const char* rows_member = "");

// Calls `handler` for every line that the running instance sends, until it
// returns false or the connection ends.
Result<void> follow(const std::filesystem::path& socket,
                    const nlohmann::json& request,
                    const std::function<bool(const nlohmann::json&)>& handler);

}  // namespace sluice::cli
