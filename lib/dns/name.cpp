// SPDX-License-Identifier: Apache-2.0
#include "lib/dns/name.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace sluice::dns {
namespace {

constexpr char kFirstPrintable = '!';
constexpr char kLastPrintable = '~';

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// Takes one character of a label off the front of `text`, escaped or not.
// nullopt: a bad escape.
std::optional<char> take_character(std::string_view& text) {
  const char first = text.front();
  text.remove_prefix(1);
  if (first != '\\') {
    return first;
  }
  if (text.empty()) {
    return std::nullopt;
  }
  if (!is_digit(text.front())) {
    const char escaped = text.front();
    text.remove_prefix(1);
    return escaped;
  }
  if (text.size() < 3 || !is_digit(text[1]) || !is_digit(text[2])) {
    return std::nullopt;
  }
  const int value =
      ((text[0] - '0') * 100) + ((text[1] - '0') * 10) + (text[2] - '0');
  text.remove_prefix(3);
  return value > 255 ? std::nullopt : std::optional(static_cast<char>(value));
}

// Takes the first label with its dot off the front of `text`, which is not
// empty, and adds it in wire form.
Result<void> take_label(std::string_view& text, std::string& wire) {
  const std::size_t length_at = wire.size();
  wire.push_back('\0');
  while (!text.empty() && text.front() != '.') {
    const auto c = take_character(text);
    if (!c) {
      return fail(
          "has a bad escape: \\ is followed by a character or by three "
          "digits up to 255");
    }
    wire.push_back(to_lower(*c));
  }
  if (!text.empty()) {
    text.remove_prefix(1);
  }
  const std::size_t length = wire.size() - length_at - 1;
  if (length == 0) {
    return fail("has an empty label");
  }
  if (length > kMaxLabelBytes) {
    return fail("has a label of " + std::to_string(length) +
                " bytes, at most 63 are possible");
  }
  wire[length_at] = static_cast<char>(length);
  return {};
}

void append_escaped(std::string& out, char c) {
  if (c == '.' || c == '\\') {
    out += '\\';
    out += c;
  } else if (c >= kFirstPrintable && c <= kLastPrintable) {
    out += c;
  } else {
    const auto value = static_cast<unsigned char>(c);
    out += '\\';
    out += static_cast<char>('0' + (value / 100));
    out += static_cast<char>('0' + (value / 10 % 10));
    out += static_cast<char>('0' + (value % 10));
  }
}

}  // namespace

Result<Name> Name::from_text(std::string_view text) {
  if (text.empty()) {
    return fail("is empty");
  }
  std::string wire;
  if (text != ".") {
    while (!text.empty()) {
      if (auto taken = take_label(text, wire); !taken) {
        return std::unexpected(std::move(taken.error()));
      }
    }
  }
  wire.push_back('\0');
  if (wire.size() > kMaxNameBytes) {
    return fail(
        "is too long: a name has at most 255 bytes, of which each "
        "label's length and the end take one");
  }
  return Name(std::move(wire));
}

Result<Name> Name::from_wire(std::string_view wire) {
  if (wire.size() > kMaxNameBytes) {
    return fail("has " + std::to_string(wire.size()) +
                " bytes, at most 255 are possible");
  }
  std::string result(wire);
  std::size_t at = 0;
  while (at < wire.size() && wire[at] != '\0') {
    const auto length = static_cast<unsigned char>(wire[at]);
    if (length > kMaxLabelBytes) {
      return fail("has a label that is compressed or too long");
    }
    if (length >= wire.size() - at) {
      break;
    }
    const auto label = result.begin() + static_cast<std::ptrdiff_t>(at) + 1;
    std::transform(label, label + length, label, to_lower);
    at += 1U + length;
  }
  if (at + 1 != wire.size() || wire[at] != '\0') {
    return fail("does not end where its bytes end");
  }
  return Name(std::move(result));
}

std::string Name::text() const {
  if (is_root()) {
    return ".";
  }
  std::string result;
  const Labels all = labels();
  for (std::size_t i = 0; i < all.count; ++i) {
    if (i > 0) {
      result += '.';
    }
    for (const char c : all.label.at(i)) {
      append_escaped(result, c);
    }
  }
  return result;
}

Labels Name::labels() const {
  Labels result;
  std::string_view rest = wire_;
  while (rest.front() != '\0') {
    const auto length = static_cast<unsigned char>(rest.front());
    result.label.at(result.count++) = rest.substr(1, length);
    rest.remove_prefix(1U + length);
  }
  return result;
}

}  // namespace sluice::dns
