// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

namespace sluice {

// Removes and returns the first character of `text`, which is not empty.
// nullopt, with `text` unchanged, if it does not begin with well-formed UTF-8:
// an overlong form, a surrogate, a value beyond U+10FFFF, a truncated sequence.
std::optional<char32_t> take_character(std::string_view& text);

}  // namespace sluice
