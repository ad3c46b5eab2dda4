// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/fast_decode.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <utility>

#include <netinet/in.h>

#include "lib/kube/api/fast_metadata.h"
#include "lib/kube/api/json_reader.h"
#include "lib/kube/cidr.h"
#include "lib/kube/decode.h"

namespace sluice::kube::fast {
namespace {

constexpr std::string_view kServiceLabel = "kubernetes.io/service-name";

bool read_address(std::string_view text, std::vector<IpAddress>& out) {
  const auto address = parse_ip(text);
  if (!address) {
    return false;
  }
  if (std::ranges::find(out, *address) == out.end()) {
    out.push_back(*address);
  }
  return true;
}

bool read_protocol(od::value& value, std::uint8_t& out) {
  return unless_null(value, [&](od::value& there) {
    std::string_view text;
    if (there.get_string().get(text) != SUCCESS) {
      return false;
    }
    out = 0;
    if (text == "TCP") {
      out = IPPROTO_TCP;
    } else if (text == "UDP") {
      out = IPPROTO_UDP;
    } else if (text == "SCTP") {
      out = IPPROTO_SCTP;
    }
    return out != 0;
  });
}

bool other_member(std::string_view /*key*/, od::value& /*value*/,
                  unsigned& /*seen*/) {
  return true;
}

void to_lower(std::string& text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
}

// The ports of a container that matter.
struct Ports {
  std::vector<ContainerPort> named;
  std::vector<HostPort> host;
  void move_to(Pod& pod) {
    std::ranges::move(named, std::back_inserter(pod.ports));
    std::ranges::move(host, std::back_inserter(pod.host_ports));
  }
};

void add_host_port(const ContainerPort& port, std::int64_t number,
                   std::string_view host_ip, std::vector<HostPort>& out) {
  if (number == 0) {
    return;
  }
  const HostPort host{.protocol = port.protocol,
                      .host_port = static_cast<std::uint16_t>(number),
                      .port = port.port,
                      .host_ip = host_ip_of(host_ip)};
  out.push_back(host);
}

bool read_container_port(od::value& value, Ports& out) {
  ContainerPort port{.name = {}, .port = 0, .protocol = IPPROTO_TCP};
  std::int64_t number = 0;
  std::int64_t host_port = 0;
  std::string host_ip;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "name") {
          return first(seen, 1) && read(member, port.name);
        }
        if (key == "containerPort") {
          return first(seen, 2) && read_number(member, 1, 65535, number);
        }
        if (key == "hostPort") {
          return first(seen, 8) && read_number(member, 0, 65535, host_port);
        }
        if (key == "hostIP") {
          return first(seen, 16) && read(member, host_ip);
        }
        if (key == "protocol") {
          return first(seen, 4) && read_protocol(member, port.protocol);
        }
        return true;
      });
  if (!good || number == 0) {
    return false;
  }
  port.port = static_cast<std::uint16_t>(number);
  add_host_port(port, host_port, host_ip, out.host);
  if (!port.name.empty()) {
    to_lower(port.name);
    out.named.push_back(std::move(port));
  }
  return true;
}

// Reads the ports of one container if it runs as long as the pod.
bool read_container(od::value& value, bool init, Ports& out) {
  Ports ports;
  std::string restart;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "ports") {
          return first(seen, 1) && elements(member, [&](od::value& port) {
                   return read_container_port(port, ports);
                 });
        }
        if (init && key == "restartPolicy") {
          return first(seen, 2) && read(member, restart);
        }
        return true;
      });
  if (good && (!init || restart == "Always")) {
    std::ranges::move(ports.named, std::back_inserter(out.named));
    std::ranges::move(ports.host, std::back_inserter(out.host));
  }
  return good;
}

bool read_pod_spec(od::value& value, Pod& pod) {
  std::array<Ports, 2> ports;  // of init containers, which come first
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "containers" || key == "initContainers") {
          const bool init = key == "initContainers";
          return first(seen, init ? 1 : 2) &&
                 elements(member, [&](od::value& container) {
                   return read_container(container, init, ports[init ? 0 : 1]);
                 });
        }
        if (key == "nodeName") {
          return first(seen, 4) && read(member, pod.node);
        }
        if (key == "serviceAccountName") {
          return first(seen, 8) && read(member, pod.service_account);
        }
        if (key == "hostNetwork") {
          return first(seen, 16) && read(member, pod.host_network);
        }
        return true;
      });
  for (auto& part : ports) {
    part.move_to(pod);
  }
  return good;
}

bool read_pod_ip(od::value& value, std::vector<IpAddress>& out) {
  std::string_view ip;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        return key != "ip" ||
               (first(seen, 1) && member.get_string().get(ip) == SUCCESS);
      });
  return good && read_address(ip, out);
}

bool read_pod_status(od::value& value, Pod& pod) {
  std::string phase;
  std::string first_ip;
  std::vector<IpAddress> ips;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "phase") {
          return first(seen, 1) && read(member, phase);
        }
        if (key == "podIP") {
          return first(seen, 2) && read(member, first_ip);
        }
        if (key == "podIPs") {
          return first(seen, 4) && elements(member, [&](od::value& element) {
                   return read_pod_ip(element, ips);
                 });
        }
        return true;
      });
  pod.finished = phase == "Succeeded" || phase == "Failed";
  if (!good || (!first_ip.empty() && !read_address(first_ip, pod.ips))) {
    return false;
  }
  for (const IpAddress& ip : ips) {
    if (std::ranges::find(pod.ips, ip) == pod.ips.end()) {
      pod.ips.push_back(ip);
    }
  }
  const auto v6 = std::ranges::count(pod.ips, true, &IpAddress::v6);
  return v6 <= 1 && static_cast<std::ptrdiff_t>(pod.ips.size()) - v6 <= 1;
}

bool decode(od::object object, Event& event, Pod& pod) {
  pod.service_account = "default";
  const bool good = read_root(
      object,
      {.event = &event,
       .labels = &pod.labels,
       .annotations = &pod.annotations,
       .created = &pod.created,
       .controller = &pod.controller},
      [&](std::string_view key, od::value& member, unsigned& seen) {
        if (key == "spec") {
          return first(seen, 2) && unless_null(member, [&](od::value& spec) {
                   return read_pod_spec(spec, pod);
                 });
        }
        if (key == "status") {
          return first(seen, 4) && unless_null(member, [&](od::value& status) {
                   return read_pod_status(status, pod);
                 });
        }
        return true;
      });
  pod.ns = event.ns.empty() ? "default" : event.ns;
  pod.name = event.name;
  return good;
}

bool decode(od::object object, Event& event, Namespace& ns) {
  const bool good = read_root(
      object,
      {.event = &event, .labels = &ns.labels, .annotations = &ns.annotations},
      other_member);
  ns.name = event.name;
  return good;
}

bool read_node_address(od::value& value, std::vector<IpAddress>& out) {
  std::string type;
  std::string address;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "type") {
          return first(seen, 1) && read(member, type);
        }
        if (key == "address") {
          return first(seen, 2) && read(member, address);
        }
        return true;
      });
  // The slow decoder handles an entry whose address is missing.
  return good && ((type != "InternalIP" && type != "ExternalIP") ||
                  read_address(address, out));
}

bool read_node_spec(od::value& value, Node& node) {
  std::string first_cidr;
  std::vector<std::string> cidrs;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "podCIDR") {
          return first(seen, 1) && read(member, first_cidr);
        }
        if (key == "podCIDRs") {
          return first(seen, 2) && elements(member, [&](od::value& element) {
                   bool null = true;
                   return element.is_null().get(null) == SUCCESS && !null &&
                          read(element, cidrs.emplace_back());
                 });
        }
        return true;
      });
  cidrs.insert(cidrs.begin(), first_cidr);
  for (const auto& text : cidrs) {
    const auto cidr = parse_cidr(text);
    if (cidr && std::ranges::find(node.pod_cidrs, cidr->prefix) ==
                    node.pod_cidrs.end()) {
      node.pod_cidrs.push_back(cidr->prefix);
    }
  }
  return good;
}

bool decode(od::object object, Event& event, Node& node) {
  // Decoded and dropped, so that both decoders check the same fields.
  Labels annotations;
  const bool good = read_root(
      object,
      {.event = &event, .labels = &node.labels, .annotations = &annotations},
      [&](std::string_view key, od::value& member, unsigned& seen) {
        if (key == "spec") {
          return first(seen, 4) && unless_null(member, [&](od::value& spec) {
                   return read_node_spec(spec, node);
                 });
        }
        if (key != "status") {
          return true;
        }
        return first(seen, 2) && unless_null(member, [&](od::value& status) {
                 unsigned in_status = 0;
                 return members(
                     status, [&](std::string_view name, od::value& value) {
                       return name != "addresses" ||
                              (first(in_status, 1) &&
                               elements(value, [&](od::value& element) {
                                 return read_node_address(element, node.ips);
                               }));
                     });
               });
      });
  node.name = event.name;
  return good;
}

bool read_slice_port(od::value& value, std::vector<SlicePort>& out) {
  SlicePort port{.name = {}, .protocol = IPPROTO_TCP, .port = 0};
  std::int64_t number = 0;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "name") {
          return first(seen, 1) && read(member, port.name);
        }
        if (key == "port") {
          return first(seen, 2) && read_number(member, 0, 65535, number);
        }
        if (key == "protocol") {
          return first(seen, 4) && read_protocol(member, port.protocol);
        }
        return true;
      });
  port.port = static_cast<std::uint16_t>(number);
  out.push_back(std::move(port));
  return good;
}

bool read_conditions(od::value& value, SliceEndpoint& endpoint) {
  std::optional<bool> ready;
  std::optional<bool> serving;
  std::optional<bool> terminating;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "ready") {
          return first(seen, 1) && read(member, ready);
        }
        if (key == "serving") {
          return first(seen, 2) && read(member, serving);
        }
        if (key == "terminating") {
          return first(seen, 4) && read(member, terminating);
        }
        return true;
      });
  endpoint.ready = ready.value_or(true);
  endpoint.serving = serving.value_or(endpoint.ready);
  endpoint.terminating = terminating.value_or(false);
  return good;
}

bool read_slice_address(od::value& value, SliceEndpoint& endpoint) {
  std::string_view text;
  return value.get_string().get(text) == SUCCESS && text != "None" &&
         read_address(text, endpoint.addresses);
}

bool read_hint_names(od::value& value, std::vector<std::string>& out) {
  return elements(value, [&](od::value& element) {
    std::string name;
    unsigned seen = 0;
    const bool good =
        members(element, [&](std::string_view key, od::value& member) {
          return key != "name" || (first(seen, 1) && read(member, name));
        });
    out.push_back(std::move(name));
    return good;
  });
}

bool read_hints(od::value& value, SliceEndpoint& endpoint) {
  unsigned seen = 0;
  return members(value, [&](std::string_view key, od::value& member) {
    if (key == "forZones") {
      return first(seen, 1) && read_hint_names(member, endpoint.for_zones);
    }
    if (key == "forNodes") {
      return first(seen, 2) && read_hint_names(member, endpoint.for_nodes);
    }
    return true;
  });
}

bool read_slice_endpoint(od::value& value, std::vector<SliceEndpoint>& out) {
  SliceEndpoint endpoint;
  unsigned seen = 0;
  const bool good =
      members(value, [&](std::string_view key, od::value& member) {
        if (key == "addresses") {
          return first(seen, 1) && elements(member, [&](od::value& address) {
                   return read_slice_address(address, endpoint);
                 });
        }
        if (key == "conditions") {
          return first(seen, 2) && unless_null(member, [&](od::value& there) {
                   return read_conditions(there, endpoint);
                 });
        }
        if (key == "nodeName") {
          return first(seen, 4) && read(member, endpoint.node);
        }
        if (key == "hints") {
          return first(seen, 8) && unless_null(member, [&](od::value& there) {
                   return read_hints(there, endpoint);
                 });
        }
        return true;
      });
  out.push_back(std::move(endpoint));
  return good;
}

bool decode(od::object object, Event& event, EndpointSlice& slice) {
  Labels labels;
  Labels annotations;
  std::string address_type;
  const bool good = read_root(
      object, {.event = &event, .labels = &labels, .annotations = &annotations},
      [&](std::string_view key, od::value& member, unsigned& seen) {
        if (key == "addressType") {
          return first(seen, 2) && read(member, address_type);
        }
        if (key == "ports") {
          return first(seen, 4) && elements(member, [&](od::value& port) {
                   return read_slice_port(port, slice.ports);
                 });
        }
        if (key == "endpoints") {
          return first(seen, 8) && elements(member, [&](od::value& endpoint) {
                   return read_slice_endpoint(endpoint, slice.endpoints);
                 });
        }
        return true;
      });
  slice.ns = event.ns.empty() ? "default" : event.ns;
  slice.name = event.name;
  if (const auto service = labels.find(kServiceLabel);
      service != labels.end()) {
    slice.service = service->second;
  }
  return good && address_type != "FQDN";
}

template <typename T>
bool decode_into(od::object object, Event& event) {
  return decode(object, event, event.object.emplace<T>());
}

}  // namespace

bool decode(od::object object, Event& event) {
  switch (event.resource->shape) {
    case Shape::kNamespace:
      return decode_into<Namespace>(object, event);
    case Shape::kPod:
      return decode_into<Pod>(object, event);
    case Shape::kNode:
      return decode_into<Node>(object, event);
    case Shape::kEndpointSlice:
      return decode_into<EndpointSlice>(object, event);
    case Shape::kService:
    case Shape::kCidrGroup:
    case Shape::kJson:
      return false;
  }
  return false;
}

bool read_identity(od::object object, Event& event) {
  return read_root(object, {.event = &event}, other_member);
}

}  // namespace sluice::kube::fast
