// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/dns/name.h"

namespace sluice::dns {

// Which names a rule means. Case does not count, and neither does a final dot
// of the text. A star stands for zero or more letters, digits, '-' and '_',
// never for a dot; "**." at the start stands for one or more labels of these;
// "*" alone is every name, whatever its characters.
//
// A value. Its text() identifies it: patterns with the same text match the same
// names.
class NamePattern {
 public:
  // Cilium's matchName: one name. The error says what is wrong with the text.
  static Result<NamePattern> match_name(std::string_view text);
  // Cilium's matchPattern: a name with stars anywhere. Several stars in a row
  // are one star, except at the start before a dot.
  static Result<NamePattern> match_pattern(std::string_view text);
  // ClusterNetworkPolicy's domainNames: a name of two labels or more. "*." in
  // front of it stands for one or more labels, so that the result is the same
  // as match_pattern("**." ...).
  static Result<NamePattern> domain_name(std::string_view text);

  // Lower case, without a final dot, with as few stars as possible:
  // "api.example.com", "*.example.com", "**.example.com", "*".
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] bool matches_every_name() const { return text_ == "*"; }
  // The name, if the pattern is one name.
  [[nodiscard]] std::optional<Name> exact_name() const;
  // "**." stands at its start.
  [[nodiscard]] bool has_subdomains() const { return text_.starts_with("**."); }
  // What stands behind "**.", or the whole text.
  [[nodiscard]] std::string_view labels() const;
  [[nodiscard]] bool matches(const Name& name) const;

  auto operator<=>(const NamePattern&) const = default;

 private:
  explicit NamePattern(std::string text) : text_(std::move(text)) {}

  std::string text_;
};

// Takes the last label off the back of `labels`, which is not empty.
std::string_view take_last(std::string_view& labels);
// True if the label has nothing but letters, digits, '-' and '_'.
bool is_plain(std::string_view label);
// True if a label, in lower case, matches one with stars.
bool matches_label(std::string_view pattern, std::string_view label);

}  // namespace sluice::dns
