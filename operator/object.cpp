// SPDX-License-Identifier: Apache-2.0
#include "operator/object.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/kube/decode.h"
#include "lib/policy/parse.h"

namespace sluice::op {
namespace {

using nlohmann::json;

template <typename T>
Result<Object> widen(Result<T> value) {
  if (!value) {
    return std::unexpected(std::move(value.error()));
  }
  return Object{std::move(*value)};
}

// A kind of objects. Those of policies have no versions and functions here; see
// policy::is_policy().
struct Kind {
  std::string_view group;
  std::string_view kind;
  bool namespaced;
  std::array<std::string_view, 2> versions = {};
  Result<Object> (*decode)(const json& object) = nullptr;
  void (*remove)(policy::Translator& translator,
                 const ObjectKey& key) = nullptr;
};

constexpr std::array kKinds{
    Kind{"",
         "Namespace",
         false,
         {"v1"},
         [](const json& object) {
           return widen(kube::decode_namespace(object));
         },
         [](policy::Translator& translator, const ObjectKey& key) {
           translator.remove_namespace(key.name);
         }},
    Kind{"",
         "Pod",
         true,
         {"v1"},
         [](const json& object) { return widen(kube::decode_pod(object)); },
         [](policy::Translator& translator, const ObjectKey& key) {
           translator.remove_pod(key.ns, key.name);
         }},
    Kind{"",
         "Node",
         false,
         {"v1"},
         [](const json& object) { return widen(kube::decode_node(object)); },
         [](policy::Translator& translator, const ObjectKey& key) {
           translator.remove_node(key.name);
         }},
    Kind{"",
         "Service",
         true,
         {"v1"},
         [](const json& object) { return widen(kube::decode_service(object)); },
         [](policy::Translator& translator, const ObjectKey& key) {
           translator.remove_service(key.ns, key.name);
         }},
    Kind{"discovery.k8s.io",
         "EndpointSlice",
         true,
         {"discovery.k8s.io/v1", "discovery.k8s.io/v1beta1"},
         [](const json& object) {
           return widen(kube::decode_endpoint_slice(object));
         },
         [](policy::Translator& translator, const ObjectKey& key) {
           translator.remove_endpoint_slice(key.ns, key.name);
         }},
    Kind{"cilium.io",
         "CiliumCIDRGroup",
         false,
         {"cilium.io/v2", "cilium.io/v2alpha1"},
         [](const json& object) {
           return widen(kube::decode_cidr_group(object));
         },
         [](policy::Translator& translator, const ObjectKey& key) {
           translator.remove_cidr_group(key.name);
         }},
    Kind{"cilium.io", "CiliumNetworkPolicy", true},
    Kind{"cilium.io", "CiliumClusterwideNetworkPolicy", false},
    Kind{"networking.k8s.io", "NetworkPolicy", true},
    Kind{"policy.networking.k8s.io", "ClusterNetworkPolicy", false},
};

// Groups of everyday objects beside which policies are kept.
constexpr std::array kOrdinaryGroups{
    std::string_view{""},
    std::string_view{"apps"},
    std::string_view{"batch"},
    std::string_view{"autoscaling"},
    std::string_view{"policy"},
    std::string_view{"rbac.authorization.k8s.io"},
    std::string_view{"storage.k8s.io"},
    std::string_view{"apiextensions.k8s.io"},
    std::string_view{"scheduling.k8s.io"},
    std::string_view{"coordination.k8s.io"},
    std::string_view{"admissionregistration.k8s.io"},
};

std::string_view group_of(std::string_view api_version) {
  const auto slash = api_version.find('/');
  return slash == std::string_view::npos ? std::string_view{}
                                         : api_version.substr(0, slash);
}

const Kind* find_kind(std::string_view group, std::string_view kind) {
  // The group of NetworkPolicy before Kubernetes 1.16.
  if (group == "extensions" && kind == "NetworkPolicy") {
    group = "networking.k8s.io";
  }
  const auto* found = std::ranges::find_if(kKinds, [&](const Kind& known) {
    return known.group == group && known.kind == kind;
  });
  return found == kKinds.end() ? nullptr : found;
}

// Of a kind that is no policy's. Kinds have distinct names.
const Kind* find_plain_kind(std::string_view kind) {
  const auto* found = std::ranges::find(kKinds, kind, &Kind::kind);
  return found == kKinds.end() || found->decode == nullptr ? nullptr : found;
}

bool is_plain_kind(std::string_view api_version, std::string_view kind) {
  const auto* known = find_plain_kind(kind);
  return known != nullptr && !api_version.empty() &&
         std::ranges::find(known->versions, api_version) !=
             known->versions.end();
}

// A non-empty string member of an object, or why there is none.
Result<std::string> text_member(const json& object, const char* name,
                                const std::string& path) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_string() ||
      found->get_ref<const std::string&>().empty()) {
    return fail(path + ": must be a string that is not empty");
  }
  return found->get<std::string>();
}

}  // namespace

std::string to_string(const ObjectKey& key) {
  return key.ns.empty() ? key.kind + "/" + key.name
                        : key.kind + "/" + key.ns + "/" + key.name;
}

Interest interest_in(std::string_view api_version, std::string_view kind) {
  if (is_plain_kind(api_version, kind) ||
      policy::is_policy(api_version, kind)) {
    return Interest::kDecode;
  }
  const auto group = group_of(api_version);
  if (find_kind(group, kind) != nullptr) {
    return Interest::kWrongVersion;
  }
  if (std::ranges::find(kOrdinaryGroups, group) != kOrdinaryGroups.end() ||
      (group == "networking.k8s.io" && kind.starts_with("Ingress"))) {
    return Interest::kIgnore;
  }
  return Interest::kUnknown;
}

Result<ObjectKey> identify(const json& object) {
  if (!object.is_object()) {
    return fail("not a Kubernetes object");
  }
  auto api_version = text_member(object, "apiVersion", "apiVersion");
  if (!api_version) {
    return std::unexpected(api_version.error());
  }
  auto kind = text_member(object, "kind", "kind");
  if (!kind) {
    return std::unexpected(kind.error());
  }
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) {
    return fail("metadata: must be an object");
  }
  auto name = text_member(*metadata, "name", "metadata.name");
  if (!name) {
    return std::unexpected(name.error());
  }
  ObjectKey key{.kind = *kind, .ns = {}, .name = *name};
  const auto ns = metadata->find("namespace");
  const bool has_ns = ns != metadata->end() && !ns->is_null();
  if (has_ns && !ns->is_string()) {
    return fail("metadata.namespace: must be a string");
  }
  const auto* known = find_kind(group_of(*api_version), *kind);
  if (known == nullptr || known->namespaced) {
    key.ns = has_ns ? ns->get<std::string>() : std::string{};
    if (known != nullptr && key.ns.empty()) {
      key.ns = "default";
    }
  }
  return key;
}

Result<Object> decode(const ObjectKey& key, json object) {
  const auto api_version = object.value("apiVersion", std::string{});
  if (interest_in(api_version, key.kind) != Interest::kDecode) {
    return fail("apiVersion: \"" + api_version + "\" of " + key.kind +
                " is not supported");
  }
  if (key.ns.empty()) {
    object["metadata"].erase("namespace");
  } else {
    object["metadata"]["namespace"] = key.ns;
  }
  if (policy::is_policy(api_version, key.kind)) {
    return widen(policy::parse_policy(object));
  }
  return find_plain_kind(key.kind)->decode(object);
}

std::optional<policy::Policy> isolation_of(const json& object,
                                           OnInvalid on_invalid,
                                           const Error& why) {
  auto isolation = policy::parse_isolation(object);
  const bool always =
      isolation && (isolation->key.kind == "NetworkPolicy" ||
                    (why.code == E2BIG && !isolation->key.ns.empty()));
  if (isolation && !always && on_invalid == OnInvalid::kOpen) {
    return std::nullopt;
  }
  return isolation;
}

std::string say_isolation(const policy::Policy& isolation) {
  return "its pods are isolated for " + policy::isolated_directions(isolation) +
         " until it is valid";
}

void set(policy::Translator& translator, const Object& object) {
  std::visit([&](const auto& value) { translator.set(value); }, object);
}

void remove(policy::Translator& translator, const ObjectKey& key) {
  if (const auto* known = find_plain_kind(key.kind)) {
    known->remove(translator, key);
  } else {
    translator.remove_policy(
        {.kind = key.kind, .ns = key.ns, .name = key.name});
  }
}

}  // namespace sluice::op
