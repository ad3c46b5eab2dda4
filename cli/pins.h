// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "lib/base/result.h"
#include "sluice/state.h"

// Reads the pinned maps, without a running program and without changes. Needs
// root.
namespace sluice::cli {

Result<std::vector<PolicyEntry>> read_pinned_policy(
    const std::filesystem::path& pin_dir);
// Of the generation in force.
Result<std::vector<PeerEntry>> read_pinned_peers(
    const std::filesystem::path& pin_dir);

}  // namespace sluice::cli
