// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "lib/preview/flows.h"
#include "lib/preview/view.h"

namespace sluice::preview {

// The view as JSON, for programs. Ends and ports are named by their names.
nlohmann::json preview_json(const View& view);
nlohmann::json flows_json(const FlowsView& view);

}  // namespace sluice::preview
