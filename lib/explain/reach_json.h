// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "lib/base/result.h"
#include "lib/explain/reach_view.h"

// The view as JSON, for programs and from one program to another. Ends and
// ports are named by their names.
namespace sluice::explain {

// All but the cells.
nlohmann::json reach_head(const ReachView& view);
nlohmann::json reach_cell(const ReachView& view, const ReachCell& cell);
// With `cells`.
nlohmann::json reach_json(const ReachView& view);
// Refuses what is not a view. Fields of newer programs are ignored.
Result<ReachView> reach_view(const nlohmann::json& json);

}  // namespace sluice::explain
