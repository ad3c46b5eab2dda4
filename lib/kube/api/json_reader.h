// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <simdjson.h>

#include "lib/kube/objects.h"

// Functions that read simdjson's stream of tokens. They return false at
// anything unusual, and then leave their target in an unspecified state.
//
// Internal to the event decoder.
namespace sluice::kube::fast {

namespace od = simdjson::ondemand;
using simdjson::SUCCESS;

// Calls visit(key, value) for every member, until it returns false. Also
// returns false if this is not an object.
template <typename Visit>
bool members(od::object object, const Visit& visit) {
  for (auto field : object) {
    std::string_view key;
    od::value value;
    if (field.unescaped_key().get(key) != SUCCESS ||
        field.value().get(value) != SUCCESS || !visit(key, value)) {
      return false;
    }
  }
  return true;
}

template <typename Visit>
bool members(od::value value, const Visit& visit) {
  od::object object;
  return value.get_object().get(object) == SUCCESS && members(object, visit);
}

// Records that a key has been seen; false if it was seen before. Of two members
// with one name the last one counts, which the slow decoder handles.
inline bool first(unsigned& seen, unsigned bit) {
  return (std::exchange(seen, seen | bit) & bit) == 0;
}

inline bool is_null(od::value& value) {
  bool null = false;
  return value.is_null().get(null) == SUCCESS && null;
}

// Treats null like an absent member; otherwise calls visit(value).
template <typename Visit>
bool unless_null(od::value& value, const Visit& visit) {
  return is_null(value) || visit(value);
}

template <typename Visit>
bool elements(od::value& value, const Visit& visit) {
  return unless_null(value, [&](od::value& list) {
    od::array array;
    if (list.get_array().get(array) != SUCCESS) {
      return false;
    }
    for (auto element : array) {
      od::value item;
      if (element.get(item) != SUCCESS || !visit(item)) {
        return false;
      }
    }
    return true;
  });
}

inline bool read(od::value& value, std::string& out) {
  std::string_view text;
  if (value.get_string().get(text) != SUCCESS) {
    return is_null(value);
  }
  if (!text.empty()) {
    out = text;
  }
  return true;
}

inline bool read(od::value& value, bool& out) {
  return unless_null(value, [&](od::value& there) {
    return there.get_bool().get(out) == SUCCESS;
  });
}

inline bool read(od::value& value, std::optional<bool>& out) {
  return unless_null(value, [&](od::value& there) {
    bool flag = false;
    const bool good = there.get_bool().get(flag) == SUCCESS;
    out = flag;
    return good;
  });
}

inline bool read_number(od::value& value, std::int64_t min, std::int64_t max,
                        std::int64_t& out) {
  return unless_null(value, [&](od::value& there) {
    return there.get_int64().get(out) == SUCCESS && out >= min && out <= max;
  });
}

inline bool read_labels(od::value& value, std::string_view prefix,
                        Labels& out) {
  return unless_null(value, [&](od::value& there) {
    return members(there, [&](std::string_view key, od::value& member) {
      if (!key.starts_with(prefix)) {
        return true;
      }
      std::string_view text;
      return member.get_string().get(text) == SUCCESS &&
             out.emplace(std::string(key), std::string(text)).second;
    });
  });
}

}  // namespace sluice::kube::fast
