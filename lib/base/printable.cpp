// SPDX-License-Identifier: Apache-2.0
#include "lib/base/printable.h"

#include "lib/base/utf8.h"

namespace sluice {
namespace {

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
    const auto rest = text;
    const auto character = take_character(text);
    if (!character) {
      text.remove_prefix(1);
    }
    const auto bytes = rest.substr(0, rest.size() - text.size());
    if (character && is_safe(*character)) {
      out += bytes;
    } else {
      escape(out, bytes);
    }
  }
  return out;
}

}  // namespace sluice
