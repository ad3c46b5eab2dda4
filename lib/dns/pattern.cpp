// SPDX-License-Identifier: Apache-2.0
#include "lib/dns/pattern.h"

#include <algorithm>
#include <utility>

namespace sluice::dns {
namespace {

bool is_alphanumeric(char c) {
  return is_plain(c) && c != '-' && c != '_';
}

Result<void> check_characters(std::string_view text, bool stars) {
  const auto is_bad = [&](char c) {
    return !is_plain(c) && c != '.' && (c != '*' || !stars);
  };
  if (std::ranges::any_of(text, is_bad)) {
    return fail(stars ? "may only have letters, digits, '-', '_', '.' and '*'"
                      : "may only have letters, digits, '-', '_' and '.'");
  }
  return {};
}

// Checks that names can match: no empty label, and none that is too long even
// without its stars.
Result<void> check_labels(std::string_view text) {
  while (true) {
    const std::size_t dot = text.find('.');
    const std::string_view label = text.substr(0, dot);
    const auto length = static_cast<std::size_t>(
        std::ranges::count_if(label, [](char c) { return c != '*'; }));
    if (label.empty()) {
      return fail("has an empty label");
    }
    if (length > kMaxLabelBytes) {
      return fail("has a label of " + std::to_string(length) +
                  " bytes, at most 63 are possible");
    }
    if (dot == std::string_view::npos) {
      return {};
    }
    text.remove_prefix(dot + 1);
  }
}

// The one form of a valid pattern.
std::string canonical(std::string_view text) {
  if (text.find_first_not_of('*') == std::string_view::npos) {
    return "*";
  }
  std::string result;
  const std::size_t stars = text.find_first_not_of('*');
  if (stars >= 2 && text[stars] == '.') {
    result = "**";
    text.remove_prefix(stars);
  }
  for (const char c : text) {
    if (c != '*' || !result.ends_with('*')) {
      result += to_lower(c);
    }
  }
  return result;
}

Result<std::string> parse(std::string_view text, bool stars) {
  if (text.empty()) {
    return fail("is empty");
  }
  if (text.size() > kMaxNameBytes) {
    return fail("has " + std::to_string(text.size()) +
                " bytes, at most 255 are possible");
  }
  if (auto checked = check_characters(text, stars); !checked) {
    return std::unexpected(std::move(checked.error()));
  }
  if (text.ends_with('.')) {
    text.remove_suffix(1);
  }
  if (auto checked = check_labels(text); !checked) {
    return std::unexpected(std::move(checked.error()));
  }
  if (text.find('*') == std::string_view::npos) {
    // Its length in wire form is limited, too.
    if (auto name = Name::from_text(text); !name) {
      return std::unexpected(std::move(name.error()));
    }
  }
  return canonical(text);
}

bool is_domain_label(std::string_view label) {
  return !label.empty() && is_alphanumeric(label.front()) &&
         is_alphanumeric(label.back());
}

}  // namespace

Result<NamePattern> NamePattern::match_name(std::string_view text) {
  auto parsed = parse(text, false);
  if (!parsed) {
    return std::unexpected(std::move(parsed.error()));
  }
  return NamePattern(std::move(*parsed));
}

Result<NamePattern> NamePattern::match_pattern(std::string_view text) {
  auto parsed = parse(text, true);
  if (!parsed) {
    return std::unexpected(std::move(parsed.error()));
  }
  return NamePattern(std::move(*parsed));
}

Result<NamePattern> NamePattern::domain_name(std::string_view text) {
  const bool subdomains = text.starts_with("*.");
  const std::string_view name = subdomains ? text.substr(2) : text;
  if (name.find('*') != std::string_view::npos) {
    return fail("may have '*' only as its first label");
  }
  auto parsed = parse(name, false);
  if (!parsed) {
    return std::unexpected(std::move(parsed.error()));
  }
  std::size_t count = 0;
  for (std::string_view rest = *parsed; !rest.empty(); ++count) {
    if (!is_domain_label(take_last(rest))) {
      return fail(
          "has a label that does not begin and end with a letter or "
          "digit");
    }
  }
  if (count < 2) {
    return fail("must have at least two labels");
  }
  return NamePattern((subdomains ? "**." : "") + *parsed);
}

std::optional<Name> NamePattern::exact_name() const {
  if (text_.find('*') != std::string::npos) {
    return std::nullopt;
  }
  auto name = Name::from_text(text_);
  return name ? std::optional(std::move(*name)) : std::nullopt;
}

std::string_view NamePattern::labels() const {
  const std::string_view all = text_;
  return has_subdomains() ? all.substr(3) : all;
}

bool NamePattern::matches(const Name& name) const {
  if (matches_every_name()) {
    return true;
  }
  const Labels of_name = name.labels();
  std::size_t left = of_name.count;
  for (std::string_view rest = labels(); !rest.empty(); --left) {
    const std::string_view label = take_last(rest);
    if (left == 0 || !matches_label(label, of_name.label.at(left - 1))) {
      return false;
    }
  }
  if (!has_subdomains()) {
    return left == 0;
  }
  return left > 0 &&
         std::all_of(of_name.label.begin(), of_name.label.begin() + left,
                     [](std::string_view label) { return is_plain(label); });
}

std::string_view take_last(std::string_view& labels) {
  const std::size_t dot = labels.rfind('.');
  if (dot == std::string_view::npos) {
    return std::exchange(labels, {});
  }
  const std::string_view last = labels.substr(dot + 1);
  labels = labels.substr(0, dot);
  return last;
}

bool is_plain(std::string_view label) {
  return std::ranges::all_of(label, [](char c) { return is_plain(c); });
}

bool matches_label(std::string_view pattern, std::string_view label) {
  // The literal characters of a pattern are plain, so a label that matches has
  // no others.
  if (!is_plain(label)) {
    return false;
  }
  std::size_t p = 0;
  std::size_t at = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;  // the label's place that the last star ends before
  while (at < label.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = at;
    } else if (p < pattern.size() && pattern[p] == label[at]) {
      ++p;
      ++at;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      at = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

}  // namespace sluice::dns
