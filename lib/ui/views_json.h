// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "lib/ui/sources.h"

// The views as JSON, for the page and from an operator to its server. The
// conversions from JSON throw what the JSON library throws if a member has the
// wrong type; what is missing is empty.
namespace sluice::ui {

void to_json(nlohmann::json& out, const Workload& workload);
void to_json(nlohmann::json& out, const PolicyNode& node);
void to_json(nlohmann::json& out, const PolicyView& view);
void to_json(nlohmann::json& out, const ReachView& view);
void from_json(const nlohmann::json& in, Workload& workload);
void from_json(const nlohmann::json& in, PolicyNode& node);
void from_json(const nlohmann::json& in, PolicyView& view);
void from_json(const nlohmann::json& in, ReachView& view);

}  // namespace sluice::ui
