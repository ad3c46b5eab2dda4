// SPDX-License-Identifier: Apache-2.0
#include "cni/raw_json.h"

#include <string>

#include <nlohmann/json.hpp>

namespace sluice::cni {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

class Cursor {
 public:
  Cursor(std::string_view text, std::size_t at) : text_(text), at_(at) {
    skip_space();
  }

  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] char next() const {
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  void step() {
    ++at_;
    skip_space();
  }
  // Skips one value and the white space after it.
  Extent value() {
    const std::size_t begin = at_;
    if (next() == '"') {
      string();
    } else if (next() == '{' || next() == '[') {
      nested();
    } else {
      at_ = std::min(text_.find_first_of(",]} \t\r\n", at_), text_.size());
    }
    const Extent result{.begin = begin, .end = at_};
    skip_space();
    return result;
  }

 private:
  void skip_space() {
    at_ = std::min(text_.find_first_not_of(kSpace, at_), text_.size());
  }
  void string() {
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      at_ += text_[at_] == '\\' ? 1 : 0;
    }
    at_ = std::min(at_ + 1, text_.size());
  }
  void nested() {
    std::size_t depth = 0;
    do {
      const char c = next();
      if (c == '"') {
        string();
        continue;
      }
      depth += c == '{' || c == '[' ? 1 : 0;
      depth -= c == '}' || c == ']' ? 1 : 0;
      ++at_;
    } while (depth > 0 && at_ < text_.size());
  }

  std::string_view text_;
  std::size_t at_;
};

// Compares with a member's name, which may contain escapes.
bool is_name(std::string_view token, std::string_view name) {
  const auto parsed = nlohmann::json::parse(token, nullptr, false);
  return parsed.is_string() && parsed.get_ref<const std::string&>() == name;
}

}  // namespace

std::optional<Extent> find_member(std::string_view text,
                                  std::string_view name) {
  Cursor cursor(text, 0);
  std::optional<Extent> found;
  if (cursor.next() != '{') {
    return found;
  }
  cursor.step();
  while (cursor.next() == '"') {
    const auto key = cursor.value();
    cursor.step();  // the colon
    const auto value = cursor.value();
    if (is_name(key.of(text), name)) {
      found = value;
    }
    cursor.step();  // the comma, or the end
  }
  return found;
}

std::vector<Extent> find_elements(std::string_view text, Extent array) {
  std::vector<Extent> result;
  Cursor cursor(text, array.begin);
  if (cursor.next() != '[') {
    return result;
  }
  cursor.step();
  while (cursor.at() < array.end && cursor.next() != ']') {
    result.push_back(cursor.value());
    if (cursor.next() == ',') {
      cursor.step();
    }
  }
  return result;
}

}  // namespace sluice::cni
