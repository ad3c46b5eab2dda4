// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sluice::node {

// Set by the build.
inline constexpr const char* kVersion = SLUICE_VERSION;

}  // namespace sluice::node
