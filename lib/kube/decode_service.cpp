// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <nlohmann/json.hpp>

#include "lib/kube/decode.h"
#include "lib/kube/field.h"
#include "lib/kube/object_fields.h"

// Decodes Services and the EndpointSlices with their backends.
namespace sluice::kube {
namespace {

using nlohmann::json;

constexpr std::string_view kServiceLabel = "kubernetes.io/service-name";
// Annotations that ask for hints: topology-mode and, before, -aware-hints.
constexpr std::string_view kTopologyPrefix = "service.kubernetes.io/topology-";

// A port number member; 0 where there is none.
std::uint16_t read_port(const Field& parent, std::string_view name,
                        Problems& problems) {
  const auto field = parent.get(name);
  const auto value = field ? as_int(*field, 0, 65535, problems) : std::nullopt;
  return static_cast<std::uint16_t>(value.value_or(0));
}

// Addresses of a list of texts. A headless Service says "None" among its own.
void read_addresses(const Field& parent, std::string_view name,
                    std::vector<IpAddress>& out, Problems& problems) {
  each(parent, name, problems, [&](const Field& element) {
    const auto* text = as_string(element, problems);
    if (text == nullptr || text->empty() || *text == "None") {
      return;
    }
    if (const auto address = read_address(element, problems)) {
      add_unique(out, *address);
    }
  });
}

std::optional<ServicePort> read_service_port(const Field& field,
                                             Problems& problems) {
  const auto protocol = read_protocol(field, problems);
  if (!field.get("port")) {
    problems.add(field, "port must be set");
  }
  ServicePort port{.name = string_or(field, "name", "", problems),
                   .protocol = protocol.value_or(IPPROTO_TCP),
                   .port = read_port(field, "port", problems),
                   .target_port = 0,
                   .target_name = {},
                   .node_port = read_port(field, "nodePort", problems)};
  const auto target = field.get("targetPort");
  if (target && target->value().is_string()) {
    port.target_name = to_lower(string_or(field, "targetPort", "", problems));
  } else {
    port.target_port = read_port(field, "targetPort", problems);
  }
  if (port.target_port == 0 && port.target_name.empty()) {
    port.target_port = port.port;
  }
  return protocol && port.port != 0 ? std::optional(port) : std::nullopt;
}

// Values that are not known ask for nothing, so that every backend counts.
Closeness closeness_of(std::string_view distribution, const Labels& wishes) {
  if (distribution == "PreferSameNode") {
    return Closeness::kNode;
  }
  const bool zone = distribution == "PreferClose" ||
                    distribution == "PreferSameZone" ||
                    std::ranges::any_of(wishes, [](const auto& wish) {
                      return wish.second == "Auto" || wish.second == "auto";
                    });
  return zone ? Closeness::kZone : Closeness::kNone;
}

void read_service_spec(const Field& spec, Service& service,
                       Problems& problems) {
  service.type = string_or(spec, "type", "ClusterIP", problems);
  service.internal_local =
      string_or(spec, "internalTrafficPolicy", "", problems) == "Local";
  service.external_local =
      string_or(spec, "externalTrafficPolicy", "", problems) == "Local";
  service.selector = string_map(spec, "selector", "", problems);
  if (const auto publish = spec.get("publishNotReadyAddresses")) {
    service.publish_not_ready = as_bool(*publish, problems).value_or(false);
  }
  // An ExternalName is an alias in DNS: whatever else it says is left over.
  if (service.type == "ExternalName") {
    return;
  }
  const auto first = string_or(spec, "clusterIP", "", problems);
  service.headless = first == "None";
  if (!service.headless && !first.empty()) {
    const auto field = spec.get("clusterIP");
    if (const auto address = read_address(*field, problems)) {
      add_unique(service.cluster_ips, *address);
    }
  }
  read_addresses(spec, "clusterIPs", service.cluster_ips, problems);
  read_addresses(spec, "externalIPs", service.external_ips, problems);
  each(spec, "ports", problems, [&](const Field& element) {
    if (!is_object(element, problems)) {
      return;
    }
    if (auto port = read_service_port(element, problems)) {
      service.ports.push_back(std::move(*port));
    }
  });
}

// What the load balancer got. With ipMode Proxy kube-proxy leaves the address
// alone, and packets to it leave the node.
void read_ingress(const Field& balancer, Service& service, Problems& problems) {
  each(balancer, "ingress", problems, [&](const Field& element) {
    if (!is_object(element, problems) ||
        string_or(element, "ipMode", "VIP", problems) == "Proxy") {
      return;
    }
    const auto text = string_or(element, "ip", "", problems);
    if (const auto field = element.get("ip"); field && !text.empty()) {
      if (const auto address = read_address(*field, problems)) {
        add_unique(service.load_balancer_ips, *address);
      }
    }
  });
}

void read_slice_port(const Field& field, EndpointSlice& slice,
                     Problems& problems) {
  if (const auto protocol = read_protocol(field, problems)) {
    slice.ports.push_back({.name = string_or(field, "name", "", problems),
                           .protocol = *protocol,
                           .port = read_port(field, "port", problems)});
  }
}

// The names of a list of hints. One without a name fits nowhere.
std::vector<std::string> read_hints(const Field& hints, std::string_view name,
                                    Problems& problems) {
  std::vector<std::string> result;
  each(hints, name, problems, [&](const Field& element) {
    if (is_object(element, problems)) {
      result.push_back(string_or(element, "name", "", problems));
    }
  });
  return result;
}

// What the object leaves open: ready is true, serving as ready, terminating
// false.
SliceEndpoint read_slice_endpoint(const Field& field, Problems& problems) {
  SliceEndpoint endpoint;
  read_addresses(field, "addresses", endpoint.addresses, problems);
  const auto conditions = object_member(field, "conditions", problems);
  const auto condition = [&](std::string_view name, bool otherwise) {
    const auto value = conditions ? conditions->get(name) : std::nullopt;
    return value ? as_bool(*value, problems).value_or(false) : otherwise;
  };
  endpoint.ready = condition("ready", true);
  endpoint.serving = condition("serving", endpoint.ready);
  endpoint.terminating = condition("terminating", false);
  endpoint.node = string_or(field, "nodeName", "", problems);
  if (const auto hints = object_member(field, "hints", problems)) {
    endpoint.for_zones = read_hints(*hints, "forZones", problems);
    endpoint.for_nodes = read_hints(*hints, "forNodes", problems);
  }
  return endpoint;
}

}  // namespace

std::vector<IpAddress> EndpointSlice::ready_addresses() const {
  std::vector<IpAddress> result;
  for (const auto& endpoint : endpoints) {
    if (endpoint.ready) {
      for (const auto& address : endpoint.addresses) {
        add_unique(result, address);
      }
    }
  }
  return result;
}

Result<Service> decode_service(const json& object) {
  Problems problems;
  const Field root(object, Field::Null::kAbsent);
  auto metadata = read_metadata(root, problems);
  Service service{.ns = std::move(metadata.ns),
                  .name = std::move(metadata.name),
                  .labels = std::move(metadata.labels)};
  service.type = "ClusterIP";
  if (const auto spec = object_member(root, "spec", problems)) {
    read_service_spec(*spec, service, problems);
    const auto meta = root.get("metadata");
    service.closeness = closeness_of(
        string_or(*spec, "trafficDistribution", "", problems),
        meta ? string_map(*meta, "annotations", kTopologyPrefix, problems)
             : Labels());
  }
  if (const auto status = object_member(root, "status", problems)) {
    if (const auto balancer =
            object_member(*status, "loadBalancer", problems)) {
      read_ingress(*balancer, service, problems);
    }
  }
  return finish(std::move(service), problems);
}

Result<EndpointSlice> decode_endpoint_slice(const json& object) {
  Problems problems;
  const Field root(object, Field::Null::kAbsent);
  auto metadata = read_metadata(root, problems);
  EndpointSlice slice{.ns = std::move(metadata.ns),
                      .name = std::move(metadata.name)};
  const auto service = metadata.labels.find(std::string(kServiceLabel));
  if (service != metadata.labels.end()) {
    slice.service = service->second;
  }
  // The addresses of such a slice are names.
  if (string_or(root, "addressType", "", problems) == "FQDN") {
    return finish(std::move(slice), problems);
  }
  each(root, "ports", problems, [&](const Field& port) {
    if (is_object(port, problems)) {
      read_slice_port(port, slice, problems);
    }
  });
  each(root, "endpoints", problems, [&](const Field& endpoint) {
    if (is_object(endpoint, problems)) {
      slice.endpoints.push_back(read_slice_endpoint(endpoint, problems));
    }
  });
  return finish(std::move(slice), problems);
}

}  // namespace sluice::kube
