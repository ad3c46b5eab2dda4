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
  kDecode,        // a kind that Sluice uses
  kWrongVersion,  // such a kind in another version
  kIgnore,        // a common kind that has no part in network policy
  kUnknown,       // ignored, and reported
};
Interest interest_in(std::string_view api_version, std::string_view kind);

// Returns the object's key. If a namespaced object names no namespace, it is
// "default". Fails if kind, apiVersion or metadata.name is missing.
Result<ObjectKey> identify(const nlohmann::json& object);

// Decodes and validates the object. The error names the field.
Result<Object> decode(const ObjectKey& key, nlohmann::json object);

// The effect of an invalid policy that never had a valid version, set by
// --on-invalid. A NetworkPolicy always isolates: the API server has accepted
// it, and its author relies on it.
enum class OnInvalid : std::uint8_t {
  kOpen,     // nothing
  kIsolate,  // isolates its subjects
};
// Returns the policy that replaces an invalid one; nullopt if the invalid
// policy has no effect, or if its subjects and directions cannot be read.
std::optional<policy::Policy> isolation_of(const nlohmann::json& object,
                                           OnInvalid on_invalid,
                                           const Error& why);
// For people: "its pods are isolated for ingress until it is valid".
std::string say_isolation(const policy::Policy& isolation);

void set(policy::Translator& translator, const Object& object);
void remove(policy::Translator& translator, const ObjectKey& key);

}  // namespace sluice::op
