// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace sluice::dns {

// RFC 1035, 3.1: the whole name in wire form, with the final zero byte.
inline constexpr std::size_t kMaxNameBytes = 255;
inline constexpr std::size_t kMaxLabelBytes = 63;
inline constexpr std::size_t kMaxLabels = 127;

// Letters, digits, '-' and '_': what a wildcard stands for.
constexpr bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || c == '-' || c == '_';
}

constexpr char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// The labels of a name without the root, the leftmost one first. Views into the
// name that they were taken from.
struct Labels {
  std::array<std::string_view, kMaxLabels> label;
  std::size_t count = 0;
};

// A domain name: lower case (ASCII letters only), in wire form, never
// compressed. A value; the default is the root.
class Name {
 public:
  Name() = default;

  // Reads the text form, with or without a final dot. "." is the root. "\." and
  // "\065" stand for one byte each, as in zone files. The error says what is
  // wrong: an empty text or label, or one that is too long, or a bad escape.
  static Result<Name> from_text(std::string_view text);
  // Reads the wire form, which must be whole: labels with their lengths, the
  // final zero byte, nothing after it, no compression.
  static Result<Name> from_wire(std::string_view wire);

  // Labels with their lengths and the final zero byte; at most 255 bytes.
  [[nodiscard]] std::string_view wire() const { return wire_; }
  // Without a final dot, "." for the root. Bytes that are no printable ASCII
  // are escaped, and dots inside a label too, so that from_text() gives the
  // same name.
  [[nodiscard]] std::string text() const;
  [[nodiscard]] Labels labels() const;
  [[nodiscard]] bool is_root() const { return wire_.size() == 1; }

  auto operator<=>(const Name&) const = default;

 private:
  explicit Name(std::string wire) : wire_(std::move(wire)) {}

  std::string wire_ = std::string(1, '\0');
};

}  // namespace sluice::dns
