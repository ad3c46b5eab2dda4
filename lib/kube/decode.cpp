// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/decode.h"

#include <algorithm>

#include <netinet/in.h>
#include <nlohmann/json.hpp>

#include "lib/kube/cidr.h"
#include "lib/kube/field.h"

namespace sluice::kube {
namespace {

using nlohmann::json;

constexpr std::string_view kOwnPrefix = "sluice.io/";
constexpr std::string_view kServiceLabel = "kubernetes.io/service-name";
// Annotations that ask for hints: topology-mode and, before, -aware-hints.
constexpr std::string_view kTopologyPrefix = "service.kubernetes.io/topology-";

struct Metadata {
  std::string ns;
  std::string name;
  Labels labels;
  Labels annotations;
  std::uint64_t created = 0;
  Owner controller;
};

Labels string_map(const Field& parent, std::string_view name,
                  std::string_view prefix, Problems& problems) {
  Labels result;
  const auto field = parent.get(name);
  if (!field || !is_object(*field, problems)) {
    return result;
  }
  for (const auto& [key, value] : field->value().items()) {
    if (!key.starts_with(prefix)) {
      continue;
    }
    const Field member = field->member(key, value);
    if (const auto* text = as_string(member, problems)) {
      result.emplace(key, *text);
    }
  }
  return result;
}

std::string string_or(const Field& parent, std::string_view name,
                      std::string_view otherwise, Problems& problems) {
  if (const auto field = parent.get(name)) {
    const auto* text = as_string(*field, problems);
    if (text != nullptr && !text->empty()) {
      return *text;
    }
  }
  return std::string(otherwise);
}

// The owner that is the controller. It only serves to name the object, which is
// therefore good whatever is in the list.
Owner controller_of(const json& metadata) {
  const auto list = metadata.find("ownerReferences");
  if (list == metadata.end() || !list->is_array()) {
    return {};
  }
  for (const auto& owner : *list) {
    const auto text = [&](const char* name) {
      const auto member = owner.find(name);
      return member != owner.end() && member->is_string()
                 ? member->get<std::string>()
                 : std::string();
    };
    if (owner.is_object() && owner.value("controller", json()) == true) {
      return {.kind = text("kind"), .name = text("name")};
    }
  }
  return {};
}

Metadata read_metadata(const Field& root, Problems& problems) {
  Metadata result;
  if (!is_object(root, problems)) {
    return result;
  }
  const auto field = root.get("metadata");
  if (!field) {
    problems.add("metadata.name: must be set");
    return result;
  }
  if (!is_object(*field, problems)) {
    return result;
  }
  result.name = string_or(*field, "name", "", problems);
  if (result.name.empty() && problems.empty()) {
    problems.add("metadata.name: must be set");
  }
  result.ns = string_or(*field, "namespace", "default", problems);
  result.labels = string_map(*field, "labels", "", problems);
  result.annotations = string_map(*field, "annotations", kOwnPrefix, problems);
  result.created =
      digits_of_time(string_or(*field, "creationTimestamp", "", problems));
  result.controller = controller_of(field->value());
  return result;
}

std::optional<IpAddress> read_address(const Field& field, Problems& problems) {
  const auto* text = as_string(field, problems);
  if (text == nullptr) {
    return std::nullopt;
  }
  const auto address = parse_ip(*text);
  if (!address) {
    problems.add(field, "not an IP address: " + in_quotes(*text));
  }
  return address;
}

void add_unique(std::vector<IpAddress>& list, const IpAddress& address) {
  if (std::ranges::find(list, address) == list.end()) {
    list.push_back(address);
  }
}

// An element of a list member; calls `visit` with each. Wrong types are noted.
template <typename Visit>
void each(const Field& parent, std::string_view name, Problems& problems,
          const Visit& visit) {
  const auto list = parent.get(name);
  if (!list || !is_list(*list, problems)) {
    return;
  }
  for (std::size_t i = 0; i < list->value().size(); ++i) {
    visit(list->at(i));
  }
}

// An object member, if it is there and is one.
std::optional<Field> object_member(const Field& parent, std::string_view name,
                                   Problems& problems) {
  auto field = parent.get(name);
  if (field && !is_object(*field, problems)) {
    return std::nullopt;
  }
  return field;
}

std::optional<std::uint8_t> read_protocol(const Field& port,
                                          Problems& problems) {
  const auto field = port.get("protocol");
  if (!field) {
    return IPPROTO_TCP;
  }
  const auto* text = as_string(*field, problems);
  if (text == nullptr) {
    return std::nullopt;
  }
  if (*text == "TCP") {
    return IPPROTO_TCP;
  }
  if (*text == "UDP") {
    return IPPROTO_UDP;
  }
  if (*text == "SCTP") {
    return IPPROTO_SCTP;
  }
  problems.add(*field, "must be TCP, UDP or SCTP, is " + in_quotes(*text));
  return std::nullopt;
}

std::string to_lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

// A host port of a container.
void read_host_port(const Field& field, HostPort port, Pod& pod,
                    Problems& problems) {
  const auto number = field.get("hostPort");
  const auto value =
      number ? as_int(*number, 0, 65535, problems) : std::nullopt;
  port.host_ip = host_ip_of(string_or(field, "hostIP", "", problems));
  port.host_port = static_cast<std::uint16_t>(value.value_or(0));
  if (port.host_port != 0) {
    pod.host_ports.push_back(port);
  }
}

// Reads named ports and host ports.
void read_ports(const Field& container, Pod& pod, Problems& problems) {
  each(container, "ports", problems, [&](const Field& port) {
    if (!is_object(port, problems)) {
      return;
    }
    const std::string name = string_or(port, "name", "", problems);
    const auto number = port.get("containerPort");
    const auto value =
        number ? as_int(*number, 1, 65535, problems) : std::nullopt;
    if (!number) {
      problems.add(port, "containerPort must be set");
    }
    const auto protocol = read_protocol(port, problems);
    if (!value || !protocol) {
      return;
    }
    const auto own = static_cast<std::uint16_t>(*value);
    if (!name.empty()) {
      pod.ports.push_back(
          {.name = to_lower(name), .port = own, .protocol = *protocol});
    }
    read_host_port(port, {.protocol = *protocol, .host_port = 0, .port = own},
                   pod, problems);
  });
}

void read_pod_spec(const Field& spec, Pod& pod, Problems& problems) {
  pod.node = string_or(spec, "nodeName", "", problems);
  pod.service_account =
      string_or(spec, "serviceAccountName", "default", problems);
  if (const auto host = spec.get("hostNetwork")) {
    pod.host_network = as_bool(*host, problems).value_or(false);
  }
  // A restartable init container runs beside the containers. It comes first,
  // because of two ports of one name the last counts.
  each(spec, "initContainers", problems, [&](const Field& container) {
    if (is_object(container, problems) &&
        string_or(container, "restartPolicy", "", problems) == "Always") {
      read_ports(container, pod, problems);
    }
  });
  each(spec, "containers", problems, [&](const Field& container) {
    if (is_object(container, problems)) {
      read_ports(container, pod, problems);
    }
  });
}

void read_pod_status(const Field& status, Pod& pod, Problems& problems) {
  const std::string phase = string_or(status, "phase", "", problems);
  pod.finished = phase == "Succeeded" || phase == "Failed";
  const auto add = [&](const Field& field) {
    if (const auto address = read_address(field, problems)) {
      add_unique(pod.ips, *address);
    }
  };
  const auto first = status.get("podIP");
  const auto* text =
      first ? first->value().get_ptr<const std::string*>() : nullptr;
  if (first && (text == nullptr || !text->empty())) {
    add(*first);
  }
  each(status, "podIPs", problems, [&](const Field& element) {
    const auto ip = element.get("ip");
    if (ip) {
      add(*ip);
    } else {
      problems.add(element, "ip must be set");
    }
  });
  const auto v6 = std::ranges::count(pod.ips, true, &IpAddress::v6);
  const auto all = static_cast<std::ptrdiff_t>(pod.ips.size());
  if (v6 > 1 || all - v6 > 1) {
    problems.add("status.podIPs: more than one address of a family");
  }
}

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

template <typename T>
Result<T> finish(T&& value, const Problems& problems) {
  if (!problems.empty()) {
    return std::unexpected(problems.error());
  }
  return std::forward<T>(value);
}

}  // namespace

Result<Namespace> decode_namespace(const json& object) {
  Problems problems;
  auto metadata = read_metadata(Field(object, Field::Null::kAbsent), problems);
  return finish(Namespace{.name = std::move(metadata.name),
                          .labels = std::move(metadata.labels),
                          .annotations = std::move(metadata.annotations)},
                problems);
}

std::uint64_t digits_of_time(std::string_view text) {
  constexpr int kSeconds = 14;
  std::uint64_t result = 0;
  int count = 0;
  for (const char c : text) {
    if (c >= '0' && c <= '9' && count < kSeconds) {
      result = result * 10 + static_cast<std::uint64_t>(c - '0');
      ++count;
    }
  }
  return result;
}

std::optional<IpAddress> host_ip_of(std::string_view text) {
  auto address = parse_ip(text);
  if (address && *address == IpAddress{.v6 = address->v6}) {
    address.reset();
  }
  return address;
}

Result<Pod> decode_pod(const json& object) {
  Problems problems;
  const Field root(object, Field::Null::kAbsent);
  auto metadata = read_metadata(root, problems);
  Pod pod{.ns = std::move(metadata.ns),
          .name = std::move(metadata.name),
          .labels = std::move(metadata.labels),
          .annotations = std::move(metadata.annotations)};
  pod.created = metadata.created;
  pod.controller = std::move(metadata.controller);
  pod.service_account = "default";
  if (const auto spec = object_member(root, "spec", problems)) {
    read_pod_spec(*spec, pod, problems);
  }
  if (const auto status = object_member(root, "status", problems)) {
    read_pod_status(*status, pod, problems);
  }
  return finish(std::move(pod), problems);
}

namespace {

void read_pod_cidr(const std::string& text, Node& node) {
  if (const auto cidr = parse_cidr(text)) {
    const auto& known = node.pod_cidrs;
    if (std::ranges::find(known, cidr->prefix) == known.end()) {
      node.pod_cidrs.push_back(cidr->prefix);
    }
  }
}

}  // namespace

Result<Node> decode_node(const json& object) {
  Problems problems;
  const Field root(object, Field::Null::kAbsent);
  auto metadata = read_metadata(root, problems);
  Node node{.name = std::move(metadata.name),
            .labels = std::move(metadata.labels)};
  // What is no CIDR there is passed over: it keeps no address from anybody.
  if (const auto spec = object_member(root, "spec", problems)) {
    read_pod_cidr(string_or(*spec, "podCIDR", "", problems), node);
    each(*spec, "podCIDRs", problems, [&](const Field& element) {
      if (const auto* text = as_string(element, problems)) {
        read_pod_cidr(*text, node);
      }
    });
  }
  if (const auto status = object_member(root, "status", problems)) {
    each(*status, "addresses", problems, [&](const Field& element) {
      const std::string type = string_or(element, "type", "", problems);
      const auto text = element.get("address");
      if (text && (type == "InternalIP" || type == "ExternalIP")) {
        if (const auto address = read_address(*text, problems)) {
          add_unique(node.ips, *address);
        }
      }
    });
  }
  return finish(std::move(node), problems);
}

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

Result<CidrGroup> decode_cidr_group(const json& object) {
  Problems problems;
  const Field root(object, Field::Null::kAbsent);
  auto metadata = read_metadata(root, problems);
  CidrGroup group{.name = std::move(metadata.name),
                  .labels = std::move(metadata.labels)};
  only(root, {"apiVersion", "kind", "metadata", "spec", "status"}, problems);
  const Field strict(object, Field::Null::kValue);
  const auto spec = object_member(strict, "spec", problems);
  if (!spec) {
    if (problems.empty()) {
      problems.add("spec: must be set");
    }
    return finish(std::move(group), problems);
  }
  only(*spec, {"externalCIDRs"}, problems);
  if (!spec->get("externalCIDRs")) {
    problems.add("spec.externalCIDRs: must be set");
  }
  each(*spec, "externalCIDRs", problems, [&](const Field& element) {
    const auto* text = as_string(element, problems);
    if (text == nullptr) {
      return;
    }
    if (const auto prefix = parse_cidr(*text)) {
      group.cidrs.push_back(prefix->prefix);
    } else {
      problems.add(element, prefix.error().message);
    }
  });
  return finish(std::move(group), problems);
}

}  // namespace sluice::kube
