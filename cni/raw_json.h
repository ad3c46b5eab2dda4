// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

// Where things stand in the text of JSON, so that what others wrote is passed
// on and changed byte for byte. The text must have been found valid.
namespace sluice::cni {

struct Extent {
  std::size_t begin = 0;
  std::size_t end = 0;  // behind the last byte
  [[nodiscard]] std::string_view of(std::string_view text) const {
    return text.substr(begin, end - begin);
  }
};

// The value of a member of the object that `text` is; the last one of that
// name, as parsers take it.
std::optional<Extent> find_member(std::string_view text, std::string_view name);
// The elements of the array that stands at `array` in `text`.
std::vector<Extent> find_elements(std::string_view text, Extent array);

}  // namespace sluice::cni
