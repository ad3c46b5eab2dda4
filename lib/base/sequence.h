// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <ranges>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice {

// Sorts the elements and removes repeated ones.
template <typename Container>
void sort_unique(Container& elements) {
  std::ranges::sort(elements);
  const auto repeated = std::ranges::unique(elements);
  elements.erase(repeated.begin(), repeated.end());
}

// Sorts the elements by their keys and, of those with equal keys, keeps the one
// that was last. `key_of`: an element's key, by a function or a member.
template <typename T, typename KeyOf, typename Less = std::ranges::less>
void keep_last(std::vector<T>& elements, KeyOf key_of, Less less = {}) {
  if (!std::ranges::is_sorted(elements, less, key_of)) {
    std::ranges::stable_sort(elements, less, key_of);
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < elements.size(); ++i) {
    if (i + 1 < elements.size() &&
        !less(std::invoke(key_of, elements[i]),
              std::invoke(key_of, elements[i + 1]))) {
      continue;
    }
    if (kept != i) {
      elements[kept] = std::move(elements[i]);
    }
    ++kept;
  }
  elements.erase(elements.begin() + static_cast<std::ptrdiff_t>(kept),
                 elements.end());
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
