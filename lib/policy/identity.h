// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lib/kube/objects.h"
#include "lib/policy/rule.h"

// The properties of an address that peer selectors use: labels and entity.
namespace sluice::policy {

inline constexpr std::string_view kNamespaceKey = "io.kubernetes.pod.namespace";
inline constexpr std::string_view kNamespaceLabelPrefix =
    "io.cilium.k8s.namespace.labels.";
inline constexpr std::string_view kServiceAccountKey =
    "io.cilium.k8s.policy.serviceaccount";
inline constexpr std::string_view kClusterKey = "io.cilium.k8s.policy.cluster";
// Users cannot set pod labels under this prefix; they are ignored.
inline constexpr std::string_view kGeneratedPrefix = "io.cilium.k8s";

// Kinds of addresses that are not pods: a closed set, each with fixed labels.
// kHost* is a node's address seen from that node, kRemote* seen from any other
// node. *Api: the API server has the address.
enum class Reserved : std::uint8_t {
  kHost,
  kHostApi,
  kRemote,
  kRemoteApi,
  kWorld4,
  kWorld6,
  kWorldApi4,
  kWorldApi6,
  kHealth,
  kInit,
  kUnmanaged,
  kIngress,
};
inline constexpr int kReservedCount = 12;

// True for the addresses that CIDR peers of CiliumNetworkPolicy match.
constexpr bool is_world(Reserved kind) {
  return kind >= Reserved::kWorld4 && kind <= Reserved::kWorldApi6;
}
constexpr bool is_node(Reserved kind) {
  return kind <= Reserved::kRemoteApi;
}

// The labels of a pod, including those that Kubernetes and Cilium generate.
// Holds references to its arguments.
class PodIdentity {
 public:
  PodIdentity(const kube::Pod& pod, const kube::Labels& namespace_labels,
              std::string_view cluster)
      : pod_(pod), namespace_labels_(namespace_labels), cluster_(cluster) {}

  [[nodiscard]] std::optional<std::string_view> get(std::string_view key) const;

 private:
  const kube::Pod& pod_;
  const kube::Labels& namespace_labels_;
  std::string_view cluster_;
};

bool matches(const LabelSelector& selector, const PodIdentity& pod);
bool matches(const LabelSelector& selector, Reserved kind);
bool matches(const LabelSelector& selector, const kube::Labels& labels);
bool matches(Entity entity, Reserved kind);
inline bool matches_pods(Entity entity) {
  return entity == Entity::kCluster;
}

}  // namespace sluice::policy
