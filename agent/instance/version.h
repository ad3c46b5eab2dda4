// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sluice::instance {

// Set by the build.
inline constexpr const char* kVersion = SLUICE_VERSION;

}  // namespace sluice::instance
