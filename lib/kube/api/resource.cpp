// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/resource.h"

namespace sluice::kube {

std::string Resource::api_version(std::string_view version) const {
  return group.empty() ? std::string(version)
                       : group + "/" + std::string(version);
}

const Resource& namespaces() {
  static const Resource resource{.group = {},
                                 .versions = {"v1"},
                                 .plural = "namespaces",
                                 .kind = "Namespace",
                                 .shape = Shape::kNamespace,
                                 .namespaced = false};
  return resource;
}

const Resource& pods() {
  static const Resource resource{.group = {},
                                 .versions = {"v1"},
                                 .plural = "pods",
                                 .kind = "Pod",
                                 .shape = Shape::kPod,
                                 .namespaced = true};
  return resource;
}

const Resource& nodes() {
  static const Resource resource{.group = {},
                                 .versions = {"v1"},
                                 .plural = "nodes",
                                 .kind = "Node",
                                 .shape = Shape::kNode,
                                 .namespaced = false};
  return resource;
}

const Resource& services() {
  static const Resource resource{.group = {},
                                 .versions = {"v1"},
                                 .plural = "services",
                                 .kind = "Service",
                                 .shape = Shape::kService,
                                 .namespaced = true};
  return resource;
}

const Resource& endpoint_slices() {
  static const Resource resource{.group = "discovery.k8s.io",
                                 .versions = {"v1", "v1beta1"},
                                 .plural = "endpointslices",
                                 .kind = "EndpointSlice",
                                 .shape = Shape::kEndpointSlice,
                                 .namespaced = true};
  return resource;
}

const Resource& cidr_groups() {
  static const Resource resource{.group = "cilium.io",
                                 .versions = {"v2", "v2alpha1"},
                                 .plural = "ciliumcidrgroups",
                                 .kind = "CiliumCIDRGroup",
                                 .shape = Shape::kCidrGroup,
                                 .namespaced = false,
                                 .custom = true};
  return resource;
}

const Resource& cilium_network_policies() {
  static const Resource resource{.group = "cilium.io",
                                 .versions = {"v2"},
                                 .plural = "ciliumnetworkpolicies",
                                 .kind = "CiliumNetworkPolicy",
                                 .shape = Shape::kJson,
                                 .namespaced = true,
                                 .custom = true};
  return resource;
}

const Resource& cilium_clusterwide_network_policies() {
  static const Resource resource{.group = "cilium.io",
                                 .versions = {"v2"},
                                 .plural = "ciliumclusterwidenetworkpolicies",
                                 .kind = "CiliumClusterwideNetworkPolicy",
                                 .shape = Shape::kJson,
                                 .namespaced = false,
                                 .custom = true};
  return resource;
}

const Resource& network_policies() {
  static const Resource resource{.group = "networking.k8s.io",
                                 .versions = {"v1"},
                                 .plural = "networkpolicies",
                                 .kind = "NetworkPolicy",
                                 .shape = Shape::kJson,
                                 .namespaced = true};
  return resource;
}

const Resource& cluster_network_policies() {
  static const Resource resource{.group = "policy.networking.k8s.io",
                                 .versions = {"v1alpha2"},
                                 .plural = "clusternetworkpolicies",
                                 .kind = "ClusterNetworkPolicy",
                                 .shape = Shape::kJson,
                                 .namespaced = false,
                                 .custom = true};
  return resource;
}

std::string resource_path(const Resource& resource, std::string_view version,
                          std::string_view ns, std::string_view name,
                          std::string_view subresource) {
  std::string path = resource.group.empty()
                         ? "/api/"
                         : "/apis/" + url_escape(resource.group) + "/";
  path += url_escape(version);
  if (!ns.empty()) {
    path += "/namespaces/" + url_escape(ns);
  }
  path += "/" + resource.plural;
  if (!name.empty()) {
    path += "/" + url_escape(name);
  }
  if (!subresource.empty()) {
    path += "/" + url_escape(subresource);
  }
  return path;
}

std::string definition_path(const Resource& resource) {
  return "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" +
         url_escape(resource.plural + "." + resource.group);
}

std::string url_escape(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  constexpr std::string_view kUnreserved =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
  std::string result;
  for (const char c : text) {
    // A path segment that is only dots would refer to a parent folder.
    if (kUnreserved.contains(c) && text != "." && text != "..") {
      result += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    result += '%';
    result += kHex[byte >> 4U];
    result += kHex[byte & 15U];
  }
  return result;
}

}  // namespace sluice::kube
