// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/parse_labels.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/base/sequence.h"

namespace sluice::policy {
namespace {

constexpr std::size_t kMaxName = 63;
constexpr std::size_t kMaxSubdomain = 253;

bool is_lower_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool is_alnum(char c) {
  return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

// Begins and ends with a letter or digit; '-', '_' and '.' between.
bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxName && is_alnum(text.front()) &&
         is_alnum(text.back()) && std::ranges::all_of(text, [](char c) {
           return is_alnum(c) || c == '-' || c == '_' || c == '.';
         });
}

// "name" or "prefix/name".
bool is_qualified_name(std::string_view text) {
  const auto slash = text.find('/');
  return slash == std::string_view::npos
             ? is_name(text)
             : is_dns_subdomain(text.substr(0, slash)) &&
                   is_name(text.substr(slash + 1));
}

struct Key {
  std::string normalised;
  std::string source;
};

// Splits off the source. nullopt if the rest is not a label key. Cilium checks
// a key together with its source, "any.app", so the source counts towards the
// limit of 63 characters.
std::optional<Key> read_key(std::string_view text, KeySyntax syntax) {
  if (syntax == KeySyntax::kKubernetes) {
    return is_qualified_name(text)
               ? std::optional(
                     Key{.normalised = std::string(text), .source = {}})
               : std::nullopt;
  }
  std::string_view source = "any";
  const auto colon = text.find(':');
  if (text.starts_with('$')) {
    source = "reserved";
    text.remove_prefix(1);
  } else if (colon != std::string_view::npos) {
    source = colon == 0 ? source : text.substr(0, colon);
    text.remove_prefix(colon + 1);
  } else if (text.starts_with("reserved.")) {
    source = "reserved";
    text.remove_prefix(source.size() + 1);
  }
  if (!is_qualified_name(std::string(source) + "." + std::string(text))) {
    return std::nullopt;
  }
  std::string key(text);
  if (source != "any" && source != "k8s") {
    key = std::string(source) + ":" + key;
  }
  return Key{.normalised = std::move(key), .source = std::string(source)};
}

bool check_value(const Field& field, Problems& problems, std::string& out) {
  const auto* text = kube::as_string(field, problems);
  if (text == nullptr) {
    return false;
  }
  if (!text->empty() && !is_name(*text)) {
    problems.add(field, "not a label value: " + in_quotes(*text));
    return false;
  }
  out = *text;
  return true;
}

void read_match_labels(const Field& labels, KeySyntax syntax,
                       std::vector<Term>& terms, Problems& problems) {
  for (const auto& [key, value] : labels.value().items()) {
    const Field field = labels.member(key, value);
    auto read = read_key(key, syntax);
    if (!read) {
      problems.add(field, "not a label key: " + in_quotes(key));
      continue;
    }
    std::string text;
    if (check_value(field, problems, text)) {
      terms.push_back(
          {.requirement = require_in(read->normalised, std::move(text)),
           .source = std::move(read->source),
           .match_label = true});
    }
  }
}

std::optional<Requirement::Op> read_operator(const Field& expression,
                                             Problems& problems) {
  const auto field = require(expression, "operator", problems);
  const auto* text = field ? kube::as_string(*field, problems) : nullptr;
  if (text == nullptr) {
    return std::nullopt;
  }
  using Op = Requirement::Op;
  constexpr std::array<std::pair<std::string_view, Op>, 4> kOperators{
      {{"In", Op::kIn},
       {"NotIn", Op::kNotIn},
       {"Exists", Op::kExists},
       {"DoesNotExist", Op::kDoesNotExist}}};
  for (const auto& [name, op] : kOperators) {
    if (*text == name) {
      return op;
    }
  }
  problems.add(*field, "must be In, NotIn, Exists or DoesNotExist, is " +
                           in_quotes(*text));
  return std::nullopt;
}

std::vector<std::string> read_values(const Field& expression,
                                     Requirement::Op op, Problems& problems) {
  std::vector<std::string> values;
  const std::size_t count = list_size(expression, "values", problems);
  const bool wanted =
      op == Requirement::Op::kIn || op == Requirement::Op::kNotIn;
  const auto list = expression.get("values");
  if (!wanted) {
    if (count > 0) {
      problems.add(*list, "must be empty for Exists and DoesNotExist");
    }
    return values;
  }
  if (count == 0 && (!list || list->value().is_array())) {
    problems.add(expression, "values must not be empty for In and NotIn");
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::string text;
    if (check_value(list->at(i), problems, text)) {
      values.push_back(std::move(text));
    }
  }
  sort_unique(values);
  return values;
}

void read_expression(const Field& expression, KeySyntax syntax,
                     std::vector<Term>& terms, Problems& problems) {
  if (!kube::is_object(expression, problems)) {
    return;
  }
  kube::only(expression, {"key", "operator", "values"}, problems);
  const auto key_field = require(expression, "key", problems);
  const auto* text =
      key_field ? kube::as_string(*key_field, problems) : nullptr;
  auto key = text == nullptr ? std::nullopt : read_key(*text, syntax);
  if (text != nullptr && !key) {
    problems.add(*key_field, "not a label key: " + in_quotes(*text));
  }
  const auto op = read_operator(expression, problems);
  if (!op) {
    return;
  }
  auto values = read_values(expression, *op, problems);
  if (key) {
    terms.push_back({.requirement = {.key = std::move(key->normalised),
                                     .op = *op,
                                     .values = std::move(values)},
                     .source = std::move(key->source)});
  }
}

}  // namespace

std::vector<Term> parse_terms(const Field& selector, KeySyntax syntax,
                              Problems& problems) {
  std::vector<Term> terms;
  if (!kube::is_object(selector, problems)) {
    return terms;
  }
  if (syntax == KeySyntax::kCilium) {
    refuse(selector, {"matchCELExpression"}, problems);
    kube::only(selector,
               {"matchLabels", "matchExpressions", "matchCELExpression"},
               problems);
  } else {
    kube::only(selector, {"matchLabels", "matchExpressions"}, problems);
  }
  const auto labels = selector.get("matchLabels");
  if (labels && kube::is_object(*labels, problems)) {
    read_match_labels(*labels, syntax, terms, problems);
  }
  const std::size_t count = list_size(selector, "matchExpressions", problems);
  if (count > 0) {
    const auto expressions = selector.get("matchExpressions");
    for (std::size_t i = 0; i < count; ++i) {
      read_expression(expressions->at(i), syntax, terms, problems);
    }
  }
  return terms;
}

void add_selector(const Field& selector, std::string_view prefix,
                  LabelSelector& out, Problems& problems) {
  for (Term& term : parse_terms(selector, KeySyntax::kKubernetes, problems)) {
    term.requirement.key.insert(0, prefix);
    out.requirements.push_back(std::move(term.requirement));
  }
}

Requirement require_in(std::string_view key, std::string value) {
  Requirement result{.key = std::string(key), .op = Requirement::Op::kIn};
  result.values.push_back(std::move(value));
  return result;
}

Requirement require_exists(std::string_view key) {
  return Requirement{.key = std::string(key), .op = Requirement::Op::kExists};
}

void normalise(LabelSelector& selector) {
  sort_unique(selector.requirements);
}

bool is_dns_label(std::string_view text) {
  return !text.empty() && text.size() <= kMaxName &&
         is_lower_alnum(text.front()) && is_lower_alnum(text.back()) &&
         std::ranges::all_of(
             text, [](char c) { return is_lower_alnum(c) || c == '-'; });
}

bool is_dns_subdomain(std::string_view text) {
  if (text.size() > kMaxSubdomain) {
    return false;
  }
  // Like DNS labels joined by dots, but without a limit of length.
  while (true) {
    const auto dot = text.find('.');
    const std::string_view label = text.substr(0, dot);
    if (label.empty() || !is_lower_alnum(label.front()) ||
        !is_lower_alnum(label.back()) ||
        !std::ranges::all_of(
            label, [](char c) { return is_lower_alnum(c) || c == '-'; })) {
      return false;
    }
    if (dot == std::string_view::npos) {
      return true;
    }
    text.remove_prefix(dot + 1);
  }
}

}  // namespace sluice::policy
