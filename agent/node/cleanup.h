// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "lib/base/result.h"

namespace sluice::node {

// Removes the programs, maps, pins and files beside the socket that a program
// has left. Fails and removes nothing while such a program runs.
Result<void> clean_up(const std::filesystem::path& pin_dir,
                      const std::filesystem::path& socket);

}  // namespace sluice::node
