// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include <nlohmann/json_fwd.hpp>

#include "lib/base/result.h"
#include "lib/kube/objects.h"
#include "lib/policy/rule.h"
#include "lib/policy/translator.h"

// The objects that policy is made of, whatever their kind.
namespace sluice::op {

struct ObjectKey {
  std::string kind;
  std::string ns;  // empty for cluster-wide kinds
  std::string name;
  auto operator<=>(const ObjectKey&) const = default;
};

// "Kind/namespace/name" or "Kind/name".
std::string to_string(const ObjectKey& key);

using Object =
    std::variant<kube::Namespace, kube::Pod, kube::Node, kube::Service,
                 kube::EndpointSlice, kube::CidrGroup, policy::Policy>;

enum class Interest : std::uint8_t {
  kDecode,        // one of ours
  kWrongVersion,  // a kind of ours in a version that is not
  kIgnore,        // a common kind that has no part in network policy
  kUnknown,       // ignored, but worth a note
};
Interest interest_in(std::string_view api_version, std::string_view kind);

// What names the object. The namespace of a namespaced kind that names none is
// "default". An error if kind, apiVersion or metadata.name are not there.
Result<ObjectKey> identify(const nlohmann::json& object);

// The object behind the JSON, decoded and validated. The error names the field.
Result<Object> decode(const ObjectKey& key, nlohmann::json object);

// What an invalid policy does that has no last valid version, by
// --on-invalid. A NetworkPolicy always isolates: the API server has accepted
// it, and whoever wrote it believes in it.
enum class OnInvalid : std::uint8_t {
  kOpen,     // nothing
  kIsolate,  // isolates its subjects
};
// The policy that stands in for an invalid one; nullopt if it is to do nothing,
// or if its subjects and directions cannot be read.
std::optional<policy::Policy> isolation_of(const nlohmann::json& object,
                                           OnInvalid on_invalid);
// For people: "its pods are isolated for ingress until it is valid".
std::string say_isolation(const policy::Policy& isolation);

void set(policy::Translator& translator, const Object& object);
void remove(policy::Translator& translator, const ObjectKey& key);

}  // namespace sluice::op
