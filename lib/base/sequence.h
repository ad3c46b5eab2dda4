// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <ranges>
#include <string>
#include <string_view>

namespace sluice {

// Sorts the elements and removes repeated ones.
template <typename Container>
void sort_unique(Container& elements) {
  std::ranges::sort(elements);
  const auto repeated = std::ranges::unique(elements);
  elements.erase(repeated.begin(), repeated.end());
}

// Returns the texts, with the separator between them.
template <std::ranges::input_range Texts>
std::string joined(const Texts& texts, std::string_view separator = ", ") {
  std::string result;
  for (const auto& text : texts) {
    if (!result.empty()) {
      result += separator;
    }
    result += text;
  }
  return result;
}

}  // namespace sluice
