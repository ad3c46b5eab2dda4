// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sluice::instance {

// The build gives it.
inline constexpr const char* kVersion = SLUICE_VERSION;

}  // namespace sluice::instance
