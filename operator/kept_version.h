// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json_fwd.hpp>

#include "lib/kube/objects.h"
#include "operator/cluster_store.h"

// The last valid version of an object whose newest one is invalid: its spec and
// specs as text, and how that is stored for operators that start later. Pure.
namespace sluice::op {

// The version's rules as text. For a CIDR group, its labels too.
std::string rules_of(const nlohmann::json& object);
std::string rules_of(const kube::CidrGroup& group);

// Returns what status.inForce must store while the version in force is not the
// newest: its generation and its rules. Null if there is nothing to store.
nlohmann::json to_keep(const PolicyObject& object);
// Returns the same for an object that has no room in its status: a text with
// everything that ClusterStore::take_kept() needs. Empty if there is nothing to
// store, or too much.
std::string to_keep_elsewhere(const PolicyObject& object);

// What the status of an object stores; without rules if it stores nothing.
// Refers to `object`.
struct KeptInStatus {
  std::int64_t generation = 0;
  std::string_view rules;
};
KeptInStatus kept_in_status(const nlohmann::json& object);

struct KeptVersion {
  std::string uid;
  std::int64_t generation = 0;
  std::string rules;
};
// What a text of to_keep_elsewhere() says; nullopt if it is none.
std::optional<std::pair<ObjectKey, KeptVersion>> parse_kept(
    const std::string& text);

// Returns the object in the version that has these rules; nullopt if `text` is
// none of rules_of().
std::optional<nlohmann::json> earlier_version(const nlohmann::json& object,
                                              std::string_view text);
// The same for an object of which only the record is known.
std::optional<nlohmann::json> earlier_version(const PolicyObject& record,
                                              std::string_view text);
std::optional<kube::CidrGroup> earlier_group(const PolicyObject& record,
                                             std::string_view text);

}  // namespace sluice::op
