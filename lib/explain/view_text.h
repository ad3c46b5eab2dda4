// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "lib/base/result.h"
#include "lib/explain/view.h"

// The view as one line of JSON, as it goes from one program to another.
namespace sluice::explain {

std::string to_json_text(const ExplainView& view);
// {"answers": [...]}, for a question without a port.
std::string to_json_text(const std::vector<ExplainView>& views);
// The view, or the views of a question without a port, of which there may be
// any number. Refuses what is neither. Fields of newer programs are ignored.
Result<std::vector<ExplainView>> views_from_json(const nlohmann::json& json);
Result<std::vector<ExplainView>> views_from_json_text(std::string_view text);
// Refuses what is not a view. Fields of newer programs are ignored.
Result<ExplainView> from_json_text(std::string_view text);

}  // namespace sluice::explain
