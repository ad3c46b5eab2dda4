// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "lib/base/result.h"

namespace sluice {

// The content of whatever can be read to an end, a pipe too. The error names
// the path; a folder is one.
Result<std::string> read_file(const std::filesystem::path& path);
// The content of a regular file of at most `bytes_max`, which is a number of
// MiB. A larger file is not read.
Result<std::string> read_file(const std::filesystem::path& path,
                              std::uintmax_t bytes_max);

}  // namespace sluice
