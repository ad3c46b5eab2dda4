// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>

#include "lib/kube/manifest_builder.h"

// Gives plain scalars the types that kubectl gives them: YAML 1.1 with Go's
// notation for numbers.
namespace sluice::kube::manifest {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 5> kNull{"", "~", "null", "Null",
                                                "NULL"};
constexpr std::array<std::string_view, 11> kTrue{
    "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"};
constexpr std::array<std::string_view, 11> kFalse{
    "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"};
constexpr std::array<std::string_view, 12> kNotFinite{
    ".inf",  ".Inf",  ".INF",  "+.inf", "+.Inf", "+.INF",
    "-.inf", "-.Inf", "-.INF", ".nan",  ".NaN",  ".NAN"};

bool one_of(const auto& list, std::string_view text) {
  return std::ranges::find(list, text) != list.end();
}

// 12, 0x1f, 0o17, 017 (octal), 0b11; with a sign.
std::optional<json> whole_number(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) {
    text.remove_prefix(1);
  }
  int base = 10;
  if (text.size() > 1 && text.front() == '0') {
    const char letter = static_cast<char>(text[1] | 0x20);
    base = 8;
    if (letter == 'x') {
      base = 16;
    } else if (letter == 'b') {
      base = 2;
    }
    text.remove_prefix(letter == 'x' || letter == 'o' || letter == 'b' ? 2 : 1);
  }
  std::uint64_t number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (text.empty() || error != std::errc{} ||
      end != text.data() + text.size()) {
    return std::nullopt;
  }
  if (!negative) {
    return number;
  }
  if (number > std::uint64_t{1} << 63) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(0 - number);
}

std::size_t digits(std::string_view text) {
  return std::ranges::find_if(text, [](char c) { return c < '0' || c > '9'; }) -
         text.begin();
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
bool is_decimal(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) {
    text.remove_prefix(1);
  }
  const std::size_t whole = digits(text);
  text.remove_prefix(whole);
  std::size_t fraction = 0;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    fraction = digits(text);
    text.remove_prefix(fraction);
  }
  if (whole == 0 && fraction == 0) {
    return false;
  }
  if (text.empty()) {
    return true;
  }
  if ((text.front() | 0x20) != 'e') {
    return false;
  }
  text.remove_prefix(1);
  if (text.starts_with('-') || text.starts_with('+')) {
    text.remove_prefix(1);
  }
  return !text.empty() && digits(text) == text.size();
}

std::optional<json> decimal(std::string_view text) {
  if (!is_decimal(text)) {
    return std::nullopt;
  }
  if (text.starts_with('+')) {
    text.remove_prefix(1);
  }
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || !std::isfinite(number)) {
    return std::nullopt;
  }
  // JSON has one kind of number: 1e3 is 1000.
  constexpr double kExact = 9007199254740992.0;
  if (std::trunc(number) == number && std::fabs(number) <= kExact) {
    return static_cast<std::int64_t>(number);
  }
  return number;
}

}  // namespace

json resolve_plain(const std::string& text, int line) {
  if (one_of(kNull, text)) {
    return nullptr;
  }
  if (one_of(kTrue, text)) {
    return true;
  }
  if (one_of(kFalse, text)) {
    return false;
  }
  if (one_of(kNotFinite, text)) {
    throw Broken{line, text + " is no JSON value; quote it if it is a string"};
  }
  const char first = text.front();
  if ((first < '0' || first > '9') && first != '+' && first != '-' &&
      first != '.') {
    return text;
  }
  std::string plain = text;
  if (first == '.') {
    return decimal(plain).value_or(text);
  }
  std::erase(plain, '_');
  if (auto number = whole_number(plain)) {
    return *number;
  }
  if (auto number = decimal(plain)) {
    return *number;
  }
  return text;
}

}  // namespace sluice::kube::manifest
