// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "lib/base/result.h"

namespace sluice::instance {

// Removes what an instance that has ended left behind: programs, maps, pins and
// the files beside its socket. An error, and nothing removed, while one runs.
Result<void> clean_up(const std::filesystem::path& pin_dir,
                      const std::filesystem::path& socket);

}  // namespace sluice::instance
