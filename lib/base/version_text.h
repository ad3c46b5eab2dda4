// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace sluice {

// "sluice 0.1.0 (1234abc)", with the commit that was built; without it where
// the build did not know it.
std::string version_text(std::string_view program, std::string_view version);

}  // namespace sluice
