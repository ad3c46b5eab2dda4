// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "lib/base/result.h"

namespace sluice::cli {

// What commands call the standard input, and what they name it in messages.
inline constexpr const char* kStandardInput = "-";
inline constexpr const char* kStandardInputName = "stdin";

// Reads it to its end. Fails where that does not come within the bound.
Result<std::string> read_standard_input(std::size_t bytes_max);

}  // namespace sluice::cli
