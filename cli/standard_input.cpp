// SPDX-License-Identifier: Apache-2.0
#include "cli/standard_input.h"

#include <array>
#include <iostream>

namespace sluice::cli {

Result<std::string> read_standard_input(std::size_t bytes_max) {
  std::string text;
  std::array<char, 65'536> chunk{};
  while (std::cin.read(chunk.data(), chunk.size()) || std::cin.gcount() > 0) {
    text.append(chunk.data(), static_cast<std::size_t>(std::cin.gcount()));
    if (text.size() > bytes_max) {
      return fail(std::string(kStandardInputName) + ": more than " +
                  std::to_string(bytes_max >> 20U) + " MiB");
    }
  }
  return text;
}

}  // namespace sluice::cli
