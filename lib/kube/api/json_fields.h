// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace sluice::kube {

// The text of an object's member; empty if there is none, or no text. `object`
// is an object.
std::string text_of(const nlohmann::json& object, const char* name);

}  // namespace sluice::kube
