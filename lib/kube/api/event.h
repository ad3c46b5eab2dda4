// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>

#include <nlohmann/json_fwd.hpp>

#include "lib/kube/api/resource.h"
#include "lib/kube/objects.h"

// A change of one object of the cluster. Plain values.
namespace sluice::kube {

struct Event {
  enum class Type : std::uint8_t {
    kSet,      // it is there, new or changed: `object`
    kDeleted,  // it is gone: only its identity is given
    kInvalid,  // it is there, but cannot be decoded: `error` says why. Whether
               // to go by what it was before is for the consumer to decide
  };
  using Json = std::shared_ptr<const nlohmann::json>;  // never null

  Type type = Type::kSet;
  const Resource* resource = nullptr;  // outlives the event
  std::string ns;                      // empty if the kind has no namespaces
  std::string name;
  std::string uid;               // empty for kDeleted that a relist found out
  std::string resource_version;  // likewise
  std::int64_t generation = 0;
  // By Shape; Json for Shape::kJson, with apiVersion and kind filled in.
  // monostate unless kSet.
  std::variant<std::monostate, Namespace, Pod, Node, Service, EndpointSlice,
               CidrGroup, Json>
      object;
  std::string error;
};

}  // namespace sluice::kube
