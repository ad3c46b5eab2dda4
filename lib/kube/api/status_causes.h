// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace sluice::kube {

// The details of a Status object that say why a request has failed, by their
// reasons, such as "ResourceVersionTooLarge". Empty if there are none.
std::vector<std::string> causes_of(const nlohmann::json& status);

}  // namespace sluice::kube
