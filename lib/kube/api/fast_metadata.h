// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "lib/kube/api/event.h"
#include "lib/kube/api/json_reader.h"

// What every object has at its root, for fast_decode.h. The functions return
// false as those of json_reader.h do.
//
// Internal to the event decoder.
namespace sluice::kube::fast {

// Where the metadata goes. Labels, annotations (only those of Sluice), time and
// controller are read only if requested.
struct Metadata {
  Event* event = nullptr;
  Labels* labels = nullptr;
  Labels* annotations = nullptr;
  std::uint64_t* created = nullptr;
  Owner* controller = nullptr;
};

// Also false if there is no name.
bool read_metadata(od::value& value, const Metadata& out);

// Reads the members of an object's root: metadata, and the others with
// visit(key, value, seen), which uses the bits from 2 on.
template <typename Visit>
bool read_root(od::object object, const Metadata& metadata,
               const Visit& visit) {
  unsigned seen = 0;
  const bool good =
      members(object, [&](std::string_view key, od::value& member) {
        if (key == "metadata") {
          return first(seen, 1) && read_metadata(member, metadata);
        }
        return visit(key, member, seen);
      });
  return good && (seen & 1U) != 0;
}

}  // namespace sluice::kube::fast
