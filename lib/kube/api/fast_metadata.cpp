// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/fast_metadata.h"

#include <cstdint>
#include <string_view>
#include <utility>

#include "lib/kube/decode.h"

namespace sluice::kube::fast {
namespace {

constexpr std::string_view kOwnPrefix = "sluice.io/";

bool read_time(od::value& value, std::uint64_t& out) {
  return unless_null(value, [&](od::value& there) {
    std::string_view text;
    const bool good = there.get_string().get(text) == SUCCESS;
    out = good ? digits_of_time(text) : 0;
    return good;
  });
}

// Reads an owner, and keeps it if it is the only controller so far.
bool read_owner(od::value& value, bool& found, Owner& out) {
  Owner owner;
  bool controller = false;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "kind") {
          return first(seen, 1) && read(member, owner.kind);
        }
        if (key == "name") {
          return first(seen, 2) && read(member, owner.name);
        }
        if (key == "controller") {
          return first(seen, 4) && read(member, controller);
        }
        return true;
      });
  if (!good || !controller) {
    return good;
  }
  out = std::move(owner);
  return !std::exchange(found, true);
}

bool read_asked_for(std::string_view key, od::value& member, unsigned& seen,
                    const Metadata& out) {
  if (key == "labels" && out.labels != nullptr) {
    return first(seen, 32) && read_labels(member, "", *out.labels);
  }
  if (key == "annotations" && out.annotations != nullptr) {
    return first(seen, 64) && read_labels(member, kOwnPrefix, *out.annotations);
  }
  if (key == "creationTimestamp" && out.created != nullptr) {
    return first(seen, 128) && read_time(member, *out.created);
  }
  if (key == "ownerReferences" && out.controller != nullptr) {
    bool found = false;
    return first(seen, 256) && elements(member, [&](od::value& owner) {
             return read_owner(owner, found, *out.controller);
           });
  }
  return true;
}

}  // namespace

bool read_metadata(od::value& value, const Metadata& out) {
  unsigned seen = 0;
  Event& event = *out.event;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "name") {
          return first(seen, 1) && read(member, event.name);
        }
        if (key == "namespace") {
          return first(seen, 2) && read(member, event.ns);
        }
        if (key == "uid") {
          return first(seen, 4) && read(member, event.uid);
        }
        if (key == "resourceVersion") {
          return first(seen, 8) && read(member, event.resource_version);
        }
        if (key == "generation") {
          return first(seen, 16) &&
                 read_number(member, 0, INT64_MAX, event.generation);
        }
        return read_asked_for(key, member, seen, out);
      });
  return good && !event.name.empty();
}

}  // namespace sluice::kube::fast
