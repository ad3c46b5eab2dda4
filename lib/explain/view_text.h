// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/explain/view.h"

// The view as one line of JSON, as it goes from one program to another.
namespace sluice::explain {

std::string to_json_text(const ExplainView& view);
// Refuses what is not a view. Fields of newer programs are ignored.
Result<ExplainView> from_json_text(std::string_view text);

}  // namespace sluice::explain
