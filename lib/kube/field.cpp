// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/field.h"

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>

namespace sluice::kube {
namespace {

using nlohmann::json;

constexpr std::size_t kProblemsSpelledOut = 10;

// A key as a path component: bare if that is readable, otherwise quoted.
bool is_plain_key(std::string_view key) {
  return !key.empty() && key.size() <= 60 &&
         std::ranges::all_of(key, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  (c >= '0' && c <= '9') || c == '_' || c == '-';
         });
}

// Escapes and quotes; invalid UTF-8 becomes U+FFFD.
std::string dump(std::string_view text) {
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string_view cut(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) {
    return text;
  }
  // Not in the middle of a UTF-8 sequence.
  while (limit > 0 &&
         (static_cast<unsigned char>(text[limit]) & 0xc0) == 0x80) {
    --limit;
  }
  return text.substr(0, limit);
}

bool wrong_type(const Field& field, std::string_view wanted,
                Problems& problems) {
  std::string what = "must be ";
  what += wanted;
  what += ", is ";
  what += type_name(field.value());
  problems.add(field, what);
  return false;
}

}  // namespace

std::string printable(std::string_view text, std::size_t limit) {
  const auto shown = cut(text, limit);
  std::string result = dump(shown);
  result = result.substr(1, result.size() - 2);
  return shown.size() < text.size() ? result + "..." : result;
}

std::string in_quotes(std::string_view text) {
  const auto shown = cut(text, 120);
  std::string result = dump(shown);
  if (shown.size() < text.size()) {
    result += "...";
  }
  return result;
}

std::string Field::path() const {
  if (parent_ == nullptr) {
    return {};
  }
  std::string result = parent_->path();
  if (parent_->value_->is_array()) {
    return result + "[" + std::to_string(index_) + "]";
  }
  if (!is_plain_key(name_)) {
    return result + "[" + in_quotes(name_) + "]";
  }
  if (!result.empty()) {
    result += ".";
  }
  return result += name_;
}

std::optional<Field> Field::get(std::string_view name) const& {
  if (!value_->is_object()) {
    return std::nullopt;
  }
  const auto found = value_->find(name);
  if (found == value_->end() || (null_ == Null::kAbsent && found->is_null())) {
    return std::nullopt;
  }
  return Field(*found, *this, found.key(), 0);
}

Field Field::at(std::size_t index) const& {
  return {(*value_)[index], *this, {}, index};
}

Field Field::member(const std::string& key, const json& value) const& {
  return {value, *this, key, 0};
}

void Problems::add(const Field& field, std::string_view what) {
  std::string message = field.path();
  if (!message.empty()) {
    message += ": ";
  }
  message += what;
  messages_.push_back(std::move(message));
}

void Problems::add(std::string message) {
  messages_.push_back(std::move(message));
}

Error Problems::error() const {
  std::string text;
  const std::size_t shown = std::min(messages_.size(), kProblemsSpelledOut);
  for (std::size_t i = 0; i < shown; ++i) {
    text += (i == 0 ? "" : "; ") + messages_[i];
  }
  if (messages_.size() > shown) {
    text += "; and " + std::to_string(messages_.size() - shown) + " more";
  }
  return Error{.message = std::move(text), .code = 0};
}

std::string_view type_name(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return "null";
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return "a list";
    case json::value_t::string:
      return "a string";
    case json::value_t::boolean:
      return "a boolean";
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
    case json::value_t::number_float:
      return "a number";
    default:
      return "a value of no JSON type";
  }
}

bool is_object(const Field& field, Problems& problems) {
  return field.value().is_object() || wrong_type(field, "an object", problems);
}

bool is_list(const Field& field, Problems& problems) {
  return field.value().is_array() || wrong_type(field, "a list", problems);
}

const std::string* as_string(const Field& field, Problems& problems) {
  const auto* text = field.value().get_ptr<const std::string*>();
  if (text == nullptr) {
    wrong_type(field, "a string", problems);
  }
  return text;
}

std::optional<bool> as_bool(const Field& field, Problems& problems) {
  const auto* value = field.value().get_ptr<const bool*>();
  if (value == nullptr) {
    wrong_type(field, "true or false", problems);
    return std::nullopt;
  }
  return *value;
}

std::optional<std::int64_t> as_int(const Field& field, std::int64_t min,
                                   std::int64_t max, Problems& problems) {
  const json& value = field.value();
  if (!value.is_number_integer()) {
    wrong_type(field, "a whole number", problems);
    return std::nullopt;
  }
  // Only an unsigned number can be above the range of int64.
  const bool huge =
      value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX);
  const std::int64_t number = huge ? INT64_MAX : value.get<std::int64_t>();
  if (huge || number < min || number > max) {
    problems.add(field, "must be from " + std::to_string(min) + " to " +
                            std::to_string(max) + ", is " + value.dump());
    return std::nullopt;
  }
  return number;
}

void only(const Field& field, std::initializer_list<std::string_view> known,
          Problems& problems) {
  if (!field.value().is_object()) {
    return;
  }
  for (const auto& [key, value] : field.value().items()) {
    if (std::ranges::find(known, key) == known.end()) {
      problems.add(field.member(key, value), "unknown field");
    }
  }
}

}  // namespace sluice::kube
