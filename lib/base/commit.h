// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sluice {

// The commit that was built; empty if the build did not know it. In a file that
// cmake/commit.cmake generates, the only one that a commit changes.
const char* built_commit();

}  // namespace sluice
