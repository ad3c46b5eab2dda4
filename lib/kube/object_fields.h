// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "lib/base/result.h"
#include "lib/kube/field.h"
#include "lib/kube/objects.h"

// Fields that several kinds of objects have. Each function notes in `problems`
// what it cannot read, and then gives what it gives where the field is absent.
// Internal to the decoders of decode.h.
namespace sluice::kube {

struct Metadata {
  std::string ns;  // "default" if there is none
  std::string name;
  Labels labels;
  Labels annotations;         // only those of Sluice
  std::uint64_t created = 0;  // see digits_of_time(); 0: not known
  Owner controller;
};

// The metadata of the object. It is a problem if there is no name.
Metadata read_metadata(const Field& root, Problems& problems);

// Members of an object whose keys have the prefix.
Labels string_map(const Field& parent, std::string_view name,
                  std::string_view prefix, Problems& problems);
// A text; `otherwise` if it is absent or empty.
std::string string_or(const Field& parent, std::string_view name,
                      std::string_view otherwise, Problems& problems);
// An address as text; nullopt if it is none.
std::optional<IpAddress> read_address(const Field& field, Problems& problems);
// Adds the address if it is not there yet.
void add_unique(std::vector<IpAddress>& list, const IpAddress& address);
// The member "protocol" of a port: TCP if it is absent, nullopt if it is none
// of TCP, UDP and SCTP.
std::optional<std::uint8_t> read_protocol(const Field& port,
                                          Problems& problems);
// Letters of ASCII only.
std::string to_lower(std::string text);
// A member that is an object; nullopt if there is none.
std::optional<Field> object_member(const Field& parent, std::string_view name,
                                   Problems& problems);

// Calls `visit` with each element of a list member.
template <typename Visit>
void each(const Field& parent, std::string_view name, Problems& problems,
          const Visit& visit) {
  const auto list = parent.get(name);
  if (!list || !is_list(*list, problems)) {
    return;
  }
  for (std::size_t i = 0; i < list->value().size(); ++i) {
    visit(list->at(i));
  }
}

// The value, or an error with all problems.
template <typename T>
Result<T> finish(T&& value, const Problems& problems) {
  if (!problems.empty()) {
    return std::unexpected(problems.error());
  }
  return std::forward<T>(value);
}

}  // namespace sluice::kube
