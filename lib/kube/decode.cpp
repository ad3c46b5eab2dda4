// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/decode.h"

#include <algorithm>

#include <netinet/in.h>
#include <nlohmann/json.hpp>

#include "lib/kube/cidr.h"
#include "lib/kube/field.h"
#include "lib/kube/object_fields.h"

namespace sluice::kube {
namespace {

using nlohmann::json;

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
