// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/services.h"

#include <algorithm>
#include <iterator>

#include "tests/reference/match.h"

namespace sluice::reference {
namespace {

std::string name_of(const json& object) {
  return text(get(get(object, "metadata"), "name"));
}

std::string namespace_of(const json& object) {
  return text(get(get(object, "metadata"), "namespace"));
}

std::vector<const json*> slices_of(const World& world, const json& service) {
  std::vector<const json*> result;
  for (const auto& slice : world.slices) {
    const json& labels = get(get(*slice, "metadata"), "labels");
    if (namespace_of(*slice) == namespace_of(service) &&
        text(get(labels, "kubernetes.io/service-name")) == name_of(service)) {
      result.push_back(slice.get());
    }
  }
  return result;
}

bool selected(const json& service, const Pod& pod) {
  const json& selector = get(get(service, "spec"), "selector");
  if (selector.empty() || pod.ns != namespace_of(service)) {
    return false;
  }
  return std::ranges::all_of(labels_of(selector), [&](const auto& wanted) {
    const auto it = pod.labels.find(wanted.first);
    return it != pod.labels.end() && it->second == wanted.second;
  });
}

bool has_address(const json& service, const IpAddress& address) {
  const json& spec = get(service, "spec");
  if (text(get(spec, "clusterIP")) == "None") {
    return false;
  }
  for (const char* list : {"clusterIPs", "externalIPs"}) {
    for (const auto& element : get(spec, list)) {
      if (parse_ip(text(element)) == address) {
        return true;
      }
    }
  }
  const json& balancer = get(get(service, "status"), "loadBalancer");
  return std::ranges::any_of(
      get(balancer, "ingress"), [&](const json& element) {
        return parse_ip(text(get(element, "ip"))) == address &&
               text(get(element, "ipMode")) != "Proxy";
      });
}

// The nodes that have the address; none if a pod has it.
std::vector<std::string> nodes_at(const World& world,
                                  const IpAddress& address) {
  const auto contains = [&](const std::vector<IpAddress>& ips) {
    return std::ranges::find(ips, address) != ips.end();
  };
  for (const auto& [name, pod] : world.pods) {
    if (!pod.host_network && !pod.finished && contains(pod.ips)) {
      return {};
    }
  }
  std::vector<std::string> result;
  for (const auto& [name, ips] : world.nodes) {
    if (contains(ips)) {
      result.push_back(name);
    }
  }
  return result;
}

int number(const json& value) {
  return value.is_number() ? value.get<int>() : 0;
}

// 0: ready; 1: serves while it ends; 2: neither.
int grade_of(const json& endpoint) {
  const json& conditions = get(endpoint, "conditions");
  if (get(conditions, "ready") != json(false)) {
    return 0;
  }
  const bool serving = get(conditions, "serving") == json(true);
  return serving && get(conditions, "terminating") == json(true) ? 1 : 2;
}

bool same_port(const json& own, const json& port) {
  return text(get(own, "name")) == text(get(port, "name")) &&
         protocol_number(text(get(own, "protocol"))) ==
             protocol_number(text(get(port, "protocol"))) &&
         number(get(own, "port")) != 0;
}

struct Endpoint {
  Behind at;
  int grade = 0;
  std::string node;
  json hints;  // may be null
};

std::vector<Endpoint> by_slices(const std::vector<const json*>& slices,
                                const json& port, bool v6) {
  std::vector<Endpoint> result;
  const auto add = [&](const json& own, const json& endpoint) {
    for (const auto& address : get(endpoint, "addresses")) {
      const auto ip = parse_ip(text(address));
      if (ip && ip->v6 == v6) {
        result.push_back({.at = {*ip, number(get(own, "port"))},
                          .grade = grade_of(endpoint),
                          .node = text(get(endpoint, "nodeName")),
                          .hints = get(endpoint, "hints")});
      }
    }
  };
  for (const json* slice : slices) {
    for (const auto& own : get(*slice, "ports")) {
      if (!same_port(own, port)) {
        continue;
      }
      for (const auto& endpoint : get(*slice, "endpoints")) {
        add(own, endpoint);
      }
    }
  }
  return result;
}

std::vector<Endpoint> by_pods(const World& world, const json& service,
                              const json& port, bool v6) {
  std::vector<Endpoint> result;
  const json& wanted = get(port, "targetPort");
  for (const auto& [name, pod] : world.pods) {
    if (pod.finished || !selected(service, pod)) {
      continue;
    }
    int target = absent(wanted) ? number(get(port, "port")) : number(wanted);
    if (wanted.is_string()) {
      for (const auto& own : pod.ports) {
        if (own.name == lower(text(wanted)) &&
            own.protocol == protocol_number(text(get(port, "protocol")))) {
          target = own.number;
        }
      }
    }
    for (const auto& ip : pod.ips) {
      if (ip.v6 == v6 && target != 0) {
        result.push_back({.at = {ip, target},
                          .grade = 0,
                          .node = pod.node,
                          .hints = nullptr});
      }
    }
  }
  return result;
}

std::vector<Behind> best_of(const std::vector<Endpoint>& endpoints) {
  std::vector<Behind> result;
  for (int grade = 0; grade < 3 && result.empty(); ++grade) {
    for (const auto& endpoint : endpoints) {
      if (endpoint.grade == grade) {
        result.push_back(endpoint.at);
      }
    }
  }
  return result;
}

std::vector<Endpoint> on_node(const std::vector<Endpoint>& endpoints,
                              const std::string& node) {
  std::vector<Endpoint> result;
  std::ranges::copy_if(
      endpoints, std::back_inserter(result),
      [&](const auto& e) { return !e.node.empty() && e.node == node; });
  return result;
}

// Those of the ready endpoints whose hints name the place; nothing if one of
// them has no such hints.
std::vector<Behind> hinted(const std::vector<Endpoint>& endpoints,
                           const char* list, const std::string& place) {
  std::vector<Behind> result;
  for (const auto& endpoint : endpoints) {
    if (endpoint.grade != 0) {
      continue;
    }
    const json& names = get(endpoint.hints, list);
    if (names.empty()) {
      return {};
    }
    if (!place.empty() && std::ranges::any_of(names, [&](const json& hint) {
          return text(get(hint, "name")) == place;
        })) {
      result.push_back(endpoint.at);
    }
  }
  return result;
}

// True if all ready endpoints have hints of this kind.
bool all_hint(const std::vector<Endpoint>& endpoints, const char* list) {
  return std::ranges::all_of(endpoints, [&](const auto& endpoint) {
    return endpoint.grade != 0 || !get(endpoint.hints, list).empty();
  });
}

std::string distribution_of(const json& service) {
  const json& annotations = get(get(service, "metadata"), "annotations");
  const std::string mode =
      text(get(annotations, "service.kubernetes.io/topology-mode"));
  const std::string wish =
      text(get(get(service, "spec"), "trafficDistribution"));
  if (wish == "PreferSameNode") {
    return "node";
  }
  return wish == "PreferClose" || wish == "PreferSameZone" || mode == "Auto"
             ? "zone"
             : "";
}

// By the hints that the Service asks for.
std::vector<Behind> near(const World& world, const json& service,
                         const std::vector<Endpoint>& endpoints,
                         const std::string& node) {
  const std::string wish = distribution_of(service);
  if (wish.empty() || (wish == "zone" && all_hint(endpoints, "forNodes"))) {
    return best_of(endpoints);
  }
  auto result = wish == "node" ? hinted(endpoints, "forNodes", node)
                               : std::vector<Behind>();
  const auto labels = world.node_labels.find(node);
  if (result.empty() && labels != world.node_labels.end()) {
    const auto zone = labels->second.find("topology.kubernetes.io/zone");
    if (zone != labels->second.end()) {
      result = hinted(endpoints, "forZones", zone->second);
    }
  }
  return result.empty() ? best_of(endpoints) : result;
}

// With externalTrafficPolicy Local, endpoints that end count too where nodes
// have no other.
std::vector<Behind> outside(const std::vector<Endpoint>& endpoints) {
  auto result = best_of(endpoints);
  for (const auto& endpoint : endpoints) {
    const auto same = on_node(endpoints, endpoint.node);
    const bool ready = std::ranges::any_of(
        same, [](const auto& other) { return other.grade == 0; });
    if (endpoint.grade == 1 && !endpoint.node.empty() && !ready) {
      result.push_back(endpoint.at);
    }
  }
  return result;
}

// What one port of a Service leads to. `address`: it is asked for at one of the
// Service's addresses; otherwise at a node port.
std::vector<Behind> behind_port(const World& world, const json& service,
                                const json& port, const std::string& node,
                                const IpAddress& address, bool at_address) {
  const json& spec = get(service, "spec");
  const auto slices = slices_of(world, service);
  const auto endpoints = slices.empty() && !get(spec, "selector").empty()
                             ? by_pods(world, service, port, address.v6)
                             : by_slices(slices, port, address.v6);
  const bool cluster =
      at_address &&
      std::ranges::any_of(get(spec, "clusterIPs"), [&](const json& own) {
        return parse_ip(text(own)) == address;
      });
  if (cluster && text(get(spec, "internalTrafficPolicy")) == "Local") {
    return best_of(on_node(endpoints, node));
  }
  if (!cluster && text(get(spec, "externalTrafficPolicy")) == "Local") {
    return outside(endpoints);
  }
  return at_address ? near(world, service, endpoints, node)
                    : best_of(endpoints);
}

// Host ports of the pods of these nodes.
void add_host_ports(const World& world, const std::vector<std::string>& nodes,
                    const IpAddress& address, std::uint8_t protocol, int port,
                    std::optional<std::vector<Behind>>& result) {
  for (const auto& [name, pod] : world.pods) {
    if (pod.host_network || pod.finished ||
        std::ranges::find(nodes, pod.node) == nodes.end()) {
      continue;
    }
    for (const auto& own : pod.host_ports) {
      const auto only = parse_ip(own.ip);
      const bool all = own.ip.empty() || own.ip == "0.0.0.0" || own.ip == "::";
      if (own.number != port || own.protocol != protocol ||
          (!all && only != address)) {
        continue;
      }
      for (const auto& ip : pod.ips) {
        if (ip.v6 == address.v6) {
          result = result.value_or(std::vector<Behind>());
          result->push_back({ip, own.target});
        }
      }
    }
  }
}

}  // namespace

std::optional<std::vector<Behind>> behind(const World& world,
                                          const std::string& node,
                                          const IpAddress& address,
                                          std::uint8_t protocol, int port) {
  std::optional<std::vector<Behind>> result;
  const auto nodes = nodes_at(world, address);
  for (const auto& service : world.services) {
    const json& spec = get(*service, "spec");
    if (text(get(spec, "clusterIP")) == "None") {
      continue;
    }
    const bool own = has_address(*service, address);
    for (const auto& element : get(spec, "ports")) {
      if (protocol_number(text(get(element, "protocol"))) != protocol) {
        continue;
      }
      const auto add = [&](bool at_address) {
        const auto found =
            behind_port(world, *service, element, node, address, at_address);
        result = result.value_or(std::vector<Behind>());
        result->insert(result->end(), found.begin(), found.end());
      };
      if (own && number(get(element, "port")) == port) {
        add(true);
      }
      if (!nodes.empty() && number(get(element, "nodePort")) == port &&
          port != 0) {
        add(false);
      }
    }
  }
  add_host_ports(world, nodes, address, protocol, port, result);
  return result;
}

bool is_resolver(const World& world, const IpAddress& address,
                 std::uint8_t protocol, int port) {
  return std::ranges::any_of(world.services, [&](const auto& service) {
    if (namespace_of(*service) != "kube-system" ||
        text(get(get(get(*service, "metadata"), "labels"), "k8s-app")) !=
            "kube-dns") {
      return false;
    }
    const json& own = get(get(*service, "spec"), "clusterIPs");
    return std::ranges::any_of(own, [&](const json& element) {
      const auto cluster_ip = parse_ip(text(element));
      if (!cluster_ip) {
        return false;  // None
      }
      const auto backends = behind(world, "", *cluster_ip, protocol, 53);
      return backends &&
             ((*cluster_ip == address && port == 53) ||
              std::ranges::any_of(*backends, [&](const Behind& backend) {
                return backend.address == address && backend.port == port;
              }));
    });
  });
}

namespace {

// The element of toServices names or selects the Service.
bool means(const json& element, const std::string& ns, const json& service) {
  const json& by_name = get(element, "k8sService");
  const json& by_labels = get(element, "k8sServiceSelector");
  const std::string own =
      text(get(absent(by_name) ? by_labels : by_name, "namespace"));
  const std::string& wanted = own.empty() ? ns : own;
  if (!wanted.empty() && namespace_of(service) != wanted) {
    return false;
  }
  if (absent(by_name)) {
    return selects(get(by_labels, "selector"),
                   labels_of(get(get(service, "metadata"), "labels")));
  }
  return name_of(service) == text(get(by_name, "serviceName"));
}

// One of the Service's slices has the address, and it is not known to be
// unready.
bool has_endpoint(const World& world, const json& service,
                  const IpAddress& address) {
  for (const json* slice : slices_of(world, service)) {
    for (const auto& endpoint : get(*slice, "endpoints")) {
      if (get(get(endpoint, "conditions"), "ready") != json(false) &&
          std::ranges::any_of(get(endpoint, "addresses"), [&](const json& own) {
            return parse_ip(text(own)) == address;
          })) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

bool is_behind(const json& element, const std::string& ns, const World& world,
               const Peer& peer) {
  return std::ranges::any_of(world.services, [&](const auto& service) {
    if (!means(element, ns, *service)) {
      return false;
    }
    if (!get(get(*service, "spec"), "selector").empty()) {
      return peer.pod != nullptr && selected(*service, *peer.pod);
    }
    return peer.world() && peer.ip && has_endpoint(world, *service, *peer.ip);
  });
}

}  // namespace sluice::reference
