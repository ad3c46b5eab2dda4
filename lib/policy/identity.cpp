// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/identity.h"

#include <algorithm>
#include <array>

namespace sluice::policy {
namespace {

using Keys = std::span<const std::string_view>;

Keys keys_of(Reserved kind) {
  static constexpr std::array<std::string_view, 1> kHost{"reserved:host"};
  static constexpr std::array<std::string_view, 2> kHostApi{
      "reserved:host", "reserved:kube-apiserver"};
  static constexpr std::array<std::string_view, 1> kRemote{
      "reserved:remote-node"};
  static constexpr std::array<std::string_view, 2> kRemoteApi{
      "reserved:remote-node", "reserved:kube-apiserver"};
  static constexpr std::array<std::string_view, 3> kWorld4{
      "reserved:world", "reserved:world-ipv4", "reserved:kube-apiserver"};
  static constexpr std::array<std::string_view, 3> kWorld6{
      "reserved:world", "reserved:world-ipv6", "reserved:kube-apiserver"};
  static constexpr std::array<std::string_view, 1> kHealth{"reserved:health"};
  static constexpr std::array<std::string_view, 1> kInit{"reserved:init"};
  static constexpr std::array<std::string_view, 1> kUnmanaged{
      "reserved:unmanaged"};
  static constexpr std::array<std::string_view, 1> kIngress{"reserved:ingress"};
  switch (kind) {
    case Reserved::kHost:
      return kHost;
    case Reserved::kHostApi:
      return kHostApi;
    case Reserved::kRemote:
      return kRemote;
    case Reserved::kRemoteApi:
      return kRemoteApi;
    case Reserved::kWorld4:
      return Keys(kWorld4).first(2);
    case Reserved::kWorld6:
      return Keys(kWorld6).first(2);
    case Reserved::kWorldApi4:
      return kWorld4;
    case Reserved::kWorldApi6:
      return kWorld6;
    case Reserved::kHealth:
      return kHealth;
    case Reserved::kInit:
      return kInit;
    case Reserved::kUnmanaged:
      return kUnmanaged;
    case Reserved::kIngress:
      return kIngress;
  }
  return {};
}

// `get(key)` returns the label's value, or nothing.
template <typename Get>
bool holds(const Requirement& requirement, const Get& get) {
  const std::optional<std::string_view> value = get(requirement.key);
  const auto listed = [&] {
    return std::ranges::find(requirement.values, *value) !=
           requirement.values.end();
  };
  switch (requirement.op) {
    case Requirement::Op::kIn:
      return value && listed();
    case Requirement::Op::kNotIn:
      return !value || !listed();
    case Requirement::Op::kExists:
      return value.has_value();
    case Requirement::Op::kDoesNotExist:
      return !value;
  }
  return false;
}

template <typename Get>
bool holds_all(const LabelSelector& selector, const Get& get) {
  return std::ranges::all_of(
      selector.requirements,
      [&](const Requirement& requirement) { return holds(requirement, get); });
}

std::optional<std::string_view> find(const kube::Labels& labels,
                                     std::string_view key) {
  const auto it = labels.find(key);
  return it == labels.end() ? std::nullopt
                            : std::optional<std::string_view>(it->second);
}

}  // namespace

std::optional<std::string_view> PodIdentity::get(std::string_view key) const {
  if (key == kNamespaceKey) {
    return pod_.ns;
  }
  if (key == kServiceAccountKey) {
    return pod_.service_account;
  }
  if (key == kClusterKey) {
    return cluster_;
  }
  if (key.starts_with(kNamespaceLabelPrefix)) {
    return find(namespace_labels_, key.substr(kNamespaceLabelPrefix.size()));
  }
  if (key.starts_with(kGeneratedPrefix)) {
    return std::nullopt;
  }
  return find(pod_.labels, key);
}

bool matches(const LabelSelector& selector, const PodIdentity& pod) {
  return holds_all(selector,
                   [&](const std::string& key) { return pod.get(key); });
}

bool matches(const LabelSelector& selector, Reserved kind) {
  const auto keys = keys_of(kind);
  return holds_all(selector, [&](const std::string& key) {
    return std::ranges::find(keys, key) != keys.end()
               ? std::optional<std::string_view>("")
               : std::nullopt;
  });
}

bool matches(const LabelSelector& selector, const kube::Labels& labels) {
  return holds_all(selector,
                   [&](const std::string& key) { return find(labels, key); });
}

bool matches(Entity entity, Reserved kind) {
  const bool api = kind == Reserved::kHostApi || kind == Reserved::kRemoteApi ||
                   kind == Reserved::kWorldApi4 || kind == Reserved::kWorldApi6;
  switch (entity) {
    case Entity::kWorld:
      return is_world(kind);
    case Entity::kCluster:
      return api || !is_world(kind);
    case Entity::kHost:
      return kind == Reserved::kHost || kind == Reserved::kHostApi;
    case Entity::kRemoteNode:
      return kind == Reserved::kRemote || kind == Reserved::kRemoteApi;
    case Entity::kKubeApiserver:
      return api;
    case Entity::kHealth:
      return kind == Reserved::kHealth;
    case Entity::kInit:
      return kind == Reserved::kInit;
    case Entity::kUnmanaged:
      return kind == Reserved::kUnmanaged;
    case Entity::kIngress:
      return kind == Reserved::kIngress;
  }
  return false;
}

}  // namespace sluice::policy
