// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/label_selector.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace sluice::flow {
namespace {

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' ||
         c == '_' || c == '.' || c == '/' || c == ':';
}

// The words and signs of a selector, one after the other.
class Tokens {
 public:
  explicit Tokens(std::string_view text) : rest_(text) { advance(); }

  // Empty at the end.
  [[nodiscard]] std::string_view now() const { return now_; }
  [[nodiscard]] bool at_word() const {
    return !now_.empty() && is_word(now_[0]);
  }
  std::string_view take() {
    const auto taken = now_;
    advance();
    return taken;
  }
  bool take(std::string_view sign) {
    if (now_ != sign) {
      return false;
    }
    advance();
    return true;
  }

 private:
  void advance() {
    while (!rest_.empty() &&
           std::isspace(static_cast<unsigned char>(rest_[0])) != 0) {
      rest_.remove_prefix(1);
    }
    std::size_t size = rest_.empty() ? 0 : 1;
    if (!rest_.empty() && is_word(rest_[0])) {
      while (size < rest_.size() && is_word(rest_[size])) {
        ++size;
      }
    } else if (rest_.starts_with("==") || rest_.starts_with("!=")) {
      size = 2;
    }
    now_ = rest_.substr(0, size);
    rest_.remove_prefix(size);
  }

  std::string_view rest_;
  std::string_view now_;
};

Result<std::string> take_word(Tokens& tokens, const char* what) {
  if (!tokens.at_word()) {
    return fail(std::string(what) + " expected" +
                (tokens.now().empty()
                     ? " at the end"
                     : ", not '" + std::string(tokens.now()) + "'"));
  }
  return std::string(tokens.take());
}

Result<std::vector<std::string>> take_list(Tokens& tokens) {
  if (!tokens.take("(")) {
    return fail("'(' expected after in or notin");
  }
  std::vector<std::string> values;
  do {
    auto value = take_word(tokens, "a value");
    if (!value) {
      return std::unexpected(value.error());
    }
    values.push_back(std::move(*value));
  } while (tokens.take(","));
  if (!tokens.take(")")) {
    return fail("')' expected after the values");
  }
  return values;
}

// A label without its source and its value.
struct Label {
  std::string_view source;
  std::string_view key;
  std::string_view value;
};

Label split(std::string_view label) {
  Label result;
  const auto equals = label.find('=');
  if (equals != std::string_view::npos) {
    result.value = label.substr(equals + 1);
    label = label.substr(0, equals);
  }
  const auto colon = label.find(':');
  if (colon != std::string_view::npos) {
    result.source = label.substr(0, colon);
    label = label.substr(colon + 1);
  }
  result.key = label;
  return result;
}

}  // namespace

class LabelSelector::Parser {
 public:
  static Result<Requirement> take_requirement(Tokens& tokens) {
    Requirement requirement;
    requirement.negated = tokens.take("!");
    auto key = take_word(tokens, "a key");
    if (!key) {
      return std::unexpected(key.error());
    }
    const auto label = split(*key);
    requirement.source = label.source == "any" ? "" : label.source;
    requirement.key = label.key;
    if (!requirement.negated) {
      if (auto taken = take_values(tokens, requirement); !taken) {
        return std::unexpected(taken.error());
      }
    }
    return requirement;
  }

 private:
  static Result<void> take_values(Tokens& tokens, Requirement& requirement) {
    const auto sign = tokens.now();
    if (sign == "=" || sign == "==" || sign == "!=") {
      tokens.take();
      requirement.negated = sign == "!=";
      // An empty value is one, too.
      requirement.values.emplace_back(tokens.at_word() ? tokens.take() : "");
    } else if (sign == "in" || sign == "notin") {
      tokens.take();
      requirement.negated = sign == "notin";
      auto values = take_list(tokens);
      if (!values) {
        return std::unexpected(values.error());
      }
      requirement.values = std::move(*values);
    }
    return {};
  }
};

Result<LabelSelector> LabelSelector::parse(std::string_view text) {
  LabelSelector selector;
  Tokens tokens(text);
  while (!tokens.now().empty()) {
    auto requirement = Parser::take_requirement(tokens);
    if (!requirement) {
      return std::unexpected(requirement.error());
    }
    selector.requirements_.push_back(std::move(*requirement));
    if (!tokens.now().empty() && (!tokens.take(",") || tokens.now().empty())) {
      return fail("',' and another requirement expected" +
                  (tokens.now().empty()
                       ? std::string(" at the end")
                       : ", not '" + std::string(tokens.now()) + "'"));
    }
  }
  return selector;
}

bool LabelSelector::matches(const std::vector<std::string>& labels) const {
  return std::ranges::all_of(requirements_, [&](const Requirement& wanted) {
    const bool found = std::ranges::any_of(labels, [&](const auto& text) {
      const auto label = split(text);
      return label.key == wanted.key &&
             (wanted.source.empty() || label.source == wanted.source) &&
             (wanted.values.empty() ||
              std::ranges::find(wanted.values, label.value) !=
                  wanted.values.end());
    });
    return found != wanted.negated;
  });
}

}  // namespace sluice::flow
