// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "lib/base/result.h"

// Reads JSON of unknown shape: a value together with its path, and a list of
// problems. Users of value() include nlohmann/json.hpp.
namespace sluice::kube {

// Makes text from outside safe for a message: escapes control characters and
// invalid UTF-8, and cuts it after `limit` bytes.
std::string printable(std::string_view text, std::size_t limit = 120);
// The same in double quotes.
std::string in_quotes(std::string_view text);

// A JSON value and its position. Holds a reference to its parent, which must
// outlive it; the path is built only on request.
class Field {
 public:
  // The meaning of null: absent (as for the API server's own kinds) or a value
  // of the wrong type (as for custom resources).
  enum class Null : std::uint8_t { kAbsent, kValue };

  Field(const nlohmann::json& root, Null null) : value_(&root), null_(null) {}

  [[nodiscard]] const nlohmann::json& value() const { return *value_; }
  // "spec.ingress[0].toPorts"; empty for the root.
  [[nodiscard]] std::string path() const;
  // A member of an object; nullopt if there is none or this is not an object.
  [[nodiscard]] std::optional<Field> get(std::string_view name) const&;
  std::optional<Field> get(std::string_view name) && = delete;
  // An element of a list; `index` is below value().size().
  [[nodiscard]] Field at(std::size_t index) const&;
  Field at(std::size_t index) && = delete;
  // A member by iterator over value(), whose key lives as long as the value.
  [[nodiscard]] Field member(const std::string& key,
                             const nlohmann::json& value) const&;
  Field member(const std::string& key, const nlohmann::json& value) && = delete;

 private:
  Field(const nlohmann::json& value, const Field& parent, std::string_view name,
        std::size_t index)
      : value_(&value),
        parent_(&parent),
        name_(name),
        index_(index),
        null_(parent.null_) {}

  const nlohmann::json* value_;
  const Field* parent_ = nullptr;
  std::string_view name_;
  std::size_t index_ = 0;
  Null null_;
};

// The problems of an object, collected so that a user sees all of them.
class Problems {
 public:
  void add(const Field& field, std::string_view what);
  void add(std::string message);
  [[nodiscard]] bool empty() const { return messages_.empty(); }
  [[nodiscard]] std::size_t count() const { return messages_.size(); }
  // All of them in one line, the first ones spelled out.
  [[nodiscard]] Error error() const;

 private:
  std::vector<std::string> messages_;
};

// "an object", "a string", "null", ...
std::string_view type_name(const nlohmann::json& value);

// Each reads a value of one type. If the value has another type, adds a problem
// and returns nothing.
bool is_object(const Field& field, Problems& problems);
bool is_list(const Field& field, Problems& problems);
const std::string* as_string(const Field& field, Problems& problems);
std::optional<bool> as_bool(const Field& field, Problems& problems);
// A whole number from `min` to `max`.
std::optional<std::int64_t> as_int(const Field& field, std::int64_t min,
                                   std::int64_t max, Problems& problems);

// Adds a problem for every member of an object that is not in `known`.
void only(const Field& field, std::initializer_list<std::string_view> known,
          Problems& problems);

}  // namespace sluice::kube
