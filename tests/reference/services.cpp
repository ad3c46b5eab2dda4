// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/services.h"

#include <algorithm>
#include <array>

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

bool is_node(const World& world, const IpAddress& address) {
  const auto contains = [&](const std::vector<IpAddress>& ips) {
    return std::ranges::find(ips, address) != ips.end();
  };
  for (const auto& [name, pod] : world.pods) {
    if (!pod.host_network && !pod.finished && contains(pod.ips)) {
      return false;
    }
  }
  return std::ranges::any_of(
      world.nodes, [&](const auto& node) { return contains(node.second); });
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

// The endpoints of one port: those that count of all that there are.
std::vector<Behind> by_slices(const std::vector<const json*>& slices,
                              const json& port, bool v6) {
  std::array<std::vector<Behind>, 3> grades;
  const auto add = [&](const json& own, const json& endpoint) {
    for (const auto& address : get(endpoint, "addresses")) {
      const auto ip = parse_ip(text(address));
      if (ip && ip->v6 == v6) {
        grades[grade_of(endpoint)].push_back({*ip, number(get(own, "port"))});
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
  for (const auto& grade : grades) {
    if (!grade.empty()) {
      return grade;
    }
  }
  return {};
}

std::vector<Behind> by_pods(const World& world, const json& service,
                            const json& port, bool v6) {
  std::vector<Behind> result;
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
        result.push_back({ip, target});
      }
    }
  }
  return result;
}

}  // namespace

std::optional<std::vector<Behind>> behind(const World& world,
                                          const IpAddress& address,
                                          std::uint8_t protocol, int port) {
  std::optional<std::vector<Behind>> result;
  const bool node = is_node(world, address);
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
      const bool here =
          (own && number(get(element, "port")) == port) ||
          (node && number(get(element, "nodePort")) == port && port != 0);
      if (!here) {
        continue;
      }
      const auto slices = slices_of(world, *service);
      const auto found = slices.empty() && !get(spec, "selector").empty()
                             ? by_pods(world, *service, element, address.v6)
                             : by_slices(slices, element, address.v6);
      if (!result) {
        result.emplace();
      }
      result->insert(result->end(), found.begin(), found.end());
    }
  }
  return result;
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
