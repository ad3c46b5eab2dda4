// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// The resources that Sluice knows by name, and the paths of their URLs. Plain
// values.
namespace sluice::kube {

// The type to which an object of a resource is decoded. A new type needs a
// value here, an alternative of Event::object (event.h), and a function in
// fast_decode.cpp or event_decoder.cpp.
enum class Shape : std::uint8_t {
  kNamespace,
  kPod,
  kNode,
  kService,
  kEndpointSlice,
  kCidrGroup,
  kJson,  // the whole object, without metadata.managedFields
};

struct Resource {
  std::string group;                  // "" = core
  std::vector<std::string> versions;  // the first one that is served is used
  std::string plural;                 // "pods"
  std::string kind;                   // "Pod"
  Shape shape = Shape::kJson;
  bool namespaced = true;
  bool custom = false;  // defined by a CustomResourceDefinition; may be missing

  [[nodiscard]] std::string api_version(std::string_view version) const;
};

// The resources that Sluice watches. They live as long as the program.
const Resource& namespaces();
const Resource& pods();
const Resource& nodes();
const Resource& services();
const Resource& endpoint_slices();
const Resource& cidr_groups();
const Resource& cilium_network_policies();
const Resource& cilium_clusterwide_network_policies();
const Resource& network_policies();
const Resource& cluster_network_policies();

// "/api/v1/namespaces/x/pods/a/status"; `ns`, `name` and `subresource` may be
// empty. Escapes where a URL requires it.
std::string resource_path(const Resource& resource, std::string_view version,
                          std::string_view ns = {}, std::string_view name = {},
                          std::string_view subresource = {});
// The path of a custom resource's CustomResourceDefinition.
std::string definition_path(const Resource& resource);
// Percent-encoding of one path segment or query value.
std::string url_escape(std::string_view text);

}  // namespace sluice::kube
