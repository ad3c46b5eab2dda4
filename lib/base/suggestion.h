// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// For the message about an unknown name: `; did you mean "shop/web"?` with the
// nearest of the known names, or nothing if none is near.
std::string did_you_mean(std::string_view name,
                         const std::vector<std::string>& known);

}  // namespace sluice
