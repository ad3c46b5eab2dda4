// SPDX-License-Identifier: Apache-2.0
#include "lib/base/printable.h"

#include <array>
#include <cstddef>
#include <optional>

namespace sluice {
namespace {

struct Rune {
  char32_t value = 0;
  std::size_t length = 1;
};

// Returns the code point at the beginning of `text`; nullopt if it is not
// UTF-8.
std::optional<Rune> decode(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) {
    return Rune{.value = first, .length = 1};
  }
  std::size_t length = 2;
  if (first >= 0xe0) {
    length = first >= 0xf0 ? 4 : 3;
  }
  if (first < 0xc2 || first > 0xf4 || text.size() < length) {
    return std::nullopt;
  }
  char32_t value = first & (0xffU >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0U) != 0x80U) {
      return std::nullopt;
    }
    value = value << 6 | (next & 0x3fU);
  }
  constexpr std::array<char32_t, 5> kSmallest{0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[length] || value > 0x10ffff ||
      (value >= 0xd800 && value <= 0xdfff)) {
    return std::nullopt;
  }
  return Rune{.value = value, .length = length};
}

bool is_safe(char32_t rune) {
  const bool control = rune < 0x20 || (rune >= 0x7f && rune < 0xa0);
  const bool line = rune == 0x2028 || rune == 0x2029;
  const bool direction = rune == 0x061c || rune == 0x200e || rune == 0x200f ||
                         (rune >= 0x202a && rune <= 0x202e) ||
                         (rune >= 0x2066 && rune <= 0x2069);
  return !control && !line && !direction && rune != 0xfeff;
}

void escape(std::string& out, std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    out += "\\x";
    out += kDigits[value >> 4];
    out += kDigits[value & 15];
  }
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto rune = decode(text);
    const auto length = rune ? rune->length : 1;
    if (rune && is_safe(rune->value)) {
      out += text.substr(0, length);
    } else {
      escape(out, text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  return out;
}

}  // namespace sluice
