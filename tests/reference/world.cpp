// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/world.h"

#include <algorithm>
#include <cctype>

namespace sluice::reference {
namespace {

void add_ip(std::vector<IpAddress>& list, const std::string& value) {
  const auto ip = parse_ip(value);
  if (ip && std::ranges::find(list, *ip) == list.end()) {
    list.push_back(*ip);
  }
}

Pod pod_of(const json& object) {
  const json& spec = get(object, "spec");
  const json& status = get(object, "status");
  Pod pod;
  pod.ns = text(get(get(object, "metadata"), "namespace"));
  pod.name = text(get(get(object, "metadata"), "name"));
  pod.labels = labels_of(get(get(object, "metadata"), "labels"));
  pod.node = text(get(spec, "nodeName"));
  pod.service_account = text(get(spec, "serviceAccountName"));
  if (pod.service_account.empty()) {
    pod.service_account = "default";
  }
  pod.host_network = get(spec, "hostNetwork") == json(true);
  const std::string phase = text(get(status, "phase"));
  pod.finished = phase == "Succeeded" || phase == "Failed";
  add_ip(pod.ips, text(get(status, "podIP")));
  for (const auto& element : get(status, "podIPs")) {
    add_ip(pod.ips, text(get(element, "ip")));
  }
  for (const auto& container : get(spec, "containers")) {
    for (const auto& port : get(container, "ports")) {
      if (!absent(get(port, "name"))) {
        pod.ports.push_back({lower(text(get(port, "name"))),
                             get(port, "containerPort").get<int>(),
                             protocol_number(text(get(port, "protocol")))});
      }
      if (get(port, "hostPort").is_number()) {
        pod.host_ports.push_back({get(port, "hostPort").get<int>(),
                                  protocol_number(text(get(port, "protocol"))),
                                  get(port, "containerPort").get<int>(),
                                  text(get(port, "hostIP"))});
      }
    }
  }
  return pod;
}

std::vector<IpAddress> node_addresses(const json& object) {
  std::vector<IpAddress> result;
  for (const auto& address : get(get(object, "status"), "addresses")) {
    const std::string type = text(get(address, "type"));
    if (type == "InternalIP" || type == "ExternalIP") {
      add_ip(result, text(get(address, "address")));
    }
  }
  return result;
}

CidrGroup group_of(const json& object) {
  CidrGroup group;
  group.name = text(get(get(object, "metadata"), "name"));
  group.labels = labels_of(get(get(object, "metadata"), "labels"));
  for (const auto& cidr : get(get(object, "spec"), "externalCIDRs")) {
    if (const auto prefix = parse_prefix(text(cidr))) {
      group.cidrs.push_back(*prefix);
    } else if (const auto ip = parse_ip(text(cidr))) {
      group.cidrs.push_back(make_prefix(*ip, ip->bits()));
    }
  }
  return group;
}

}  // namespace

const json& get(const json& object, std::string_view key) {
  static const json null;
  if (!object.is_object()) {
    return null;
  }
  const auto it = object.find(key);
  return it == object.end() ? null : *it;
}

std::string text(const json& value) {
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool absent(const json& value) {
  return value.is_null();
}

Labels labels_of(const json& object) {
  Labels result;
  for (const auto& item : object.items()) {
    result[item.key()] = text(item.value());
  }
  return result;
}

std::uint8_t protocol_number(std::string_view name) {
  if (name.empty() || name == "TCP") {
    return 6;
  }
  if (name == "UDP") {
    return 17;
  }
  return name == "SCTP" ? 132 : 0;
}

std::string lower(std::string value) {
  std::ranges::transform(value, value.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  return value;
}

void World::add(const std::shared_ptr<const json>& object) {
  const std::string kind = text(get(*object, "kind"));
  const json& metadata = get(*object, "metadata");
  const std::string name = text(get(metadata, "name"));
  if (kind == "Namespace") {
    namespaces[name] = labels_of(get(metadata, "labels"));
  } else if (kind == "Node") {
    nodes[name] = node_addresses(*object);
    node_labels[name] = labels_of(get(metadata, "labels"));
  } else if (kind == "Pod") {
    Pod pod = pod_of(*object);
    pods[pod.ns + "/" + pod.name] = std::move(pod);
  } else if (kind == "CiliumCIDRGroup") {
    groups[name] = group_of(*object);
  } else if (kind == "Service") {
    services.push_back(object);
  } else if (kind == "EndpointSlice") {
    slices.push_back(object);
    const std::string service =
        text(get(get(metadata, "labels"), "kubernetes.io/service-name"));
    if (text(get(metadata, "namespace")) == "default" &&
        service == "kubernetes") {
      for (const auto& endpoint : get(*object, "endpoints")) {
        if (get(get(endpoint, "conditions"), "ready") == json(false)) {
          continue;
        }
        for (const auto& address : get(endpoint, "addresses")) {
          add_ip(api_server, text(address));
        }
      }
    }
  } else {
    policies.push_back(object);
  }
}

Labels World::namespace_labels(const std::string& ns) const {
  const auto it = namespaces.find(ns);
  return it == namespaces.end() ? Labels{} : it->second;
}

}  // namespace sluice::reference
