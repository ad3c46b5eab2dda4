// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

// Finds the positions of values in JSON text, so that text written by others
// can be kept byte for byte. The text must be valid JSON.
namespace sluice::cni {

struct Extent {
  std::size_t begin = 0;
  std::size_t end = 0;  // one past the last byte
  [[nodiscard]] std::string_view of(std::string_view text) const {
    return text.substr(begin, end - begin);
  }
};

// Returns the value of a member of the object in `text`. If a name occurs
// several times, the last one counts, as in other parsers.
std::optional<Extent> find_member(std::string_view text, std::string_view name);
// Returns the elements of the array at `array` in `text`.
std::vector<Extent> find_elements(std::string_view text, Extent array);

}  // namespace sluice::cni
