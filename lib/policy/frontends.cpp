// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/frontends.h"

#include <algorithm>
#include <tuple>

#include "lib/base/sequence.h"
#include "lib/policy/policy_sets_impl.h"

namespace sluice::policy {
namespace {

const FrontendPort* find_port(const std::vector<FrontendPort>* ports,
                              std::uint8_t protocol, std::uint16_t number) {
  if (ports == nullptr) {
    return nullptr;
  }
  const auto key = [](const FrontendPort& port) {
    return std::tuple(port.protocol, port.port);
  };
  const auto it =
      std::ranges::lower_bound(*ports, std::tuple(protocol, number), {}, key);
  return it != ports->end() && key(*it) == std::tuple(protocol, number)
             ? &*it
             : nullptr;
}

}  // namespace

const std::vector<FrontendPort>* Frontends::ports(std::uint32_t cidr_id) const {
  const auto it = ports_.find(cidr_id);
  return it == ports_.end() ? nullptr : &it->second;
}

const FrontendPort* Frontends::port(std::uint32_t cidr_id,
                                    std::uint8_t protocol,
                                    std::uint16_t number) const {
  return find_port(ports(cidr_id), protocol, number);
}

void Frontends::add_fronts_of(std::uint32_t target,
                              std::set<std::uint32_t>& ids) const {
  if (const auto it = fronts_of_.find(target); it != fronts_of_.end()) {
    ids.insert(it->second.begin(), it->second.end());
  }
}

void Frontends::add_all(std::set<std::uint32_t>& ids) const {
  for (const auto& [cidr_id, ports] : ports_) {
    ids.insert(cidr_id);
  }
}

const std::set<OwnPort>* Frontends::own_ports_of(
    const IpAddress& address) const {
  const auto it = lone_at_.find(address);
  return it == lone_at_.end() ? nullptr : &it->second;
}

// Adds the port to those of the class. `behind`: the addresses behind each port
// and class, two at most.
void Frontends::add_port(std::uint32_t cidr_id, const BehindPort& found,
                         PortMap& ports, Addresses& behind) const {
  auto& port = ports[{found.view->protocol, found.number}];
  port.protocol = found.view->protocol;
  port.port = found.number;
  for (const auto& backend : *found.backends) {
    for (const std::uint32_t id : classes_.classes_of(backend.address)) {
      port.targets.emplace_back(id, backend.port);
      auto& same = behind[{.front = cidr_id,
                           .protocol = found.view->protocol,
                           .port = found.number,
                           .target = id,
                           .number = backend.port}];
      if (same.size() < 2) {
        same.insert(backend.address);
      }
    }
  }
}

// Adds the backends of a place that are alone there, if their own packets are
// subject to it: places of one class may have different backends.
void Frontends::add_lone(const PeerClasses::Place& place, Addresses here,
                         Addresses& everywhere, LoneBackends& lone) const {
  for (auto& [own, addresses] : here) {
    if (const auto it = everywhere.find(own); it != everywhere.end()) {
      it->second.merge(addresses);
      continue;
    }
    const auto& pods = classes_.pods_at(*addresses.begin());
    if (addresses.size() == 1 &&
        std::ranges::any_of(pods, [&](const PodRecord* pod) {
          return classes_.is_subject_to(place, pod->pod.node);
        })) {
      lone[own].merge(addresses);
    }
  }
}

Frontends::Resolved Frontends::resolve(std::uint32_t cidr_id) const {
  const auto& key = classes_.key(cidr_id);
  const auto& frontend = key.frontend;
  PortMap ports;
  Resolved result;
  Addresses everywhere;
  if (frontend.node_ports) {
    for (const auto& port : node_ports_behind(services_, frontend.v6)) {
      add_port(cidr_id, port, ports, everywhere);
    }
  }
  for (const auto& place : classes_.places_of(cidr_id)) {
    Addresses here;
    for (const auto& port :
         ports_behind(services_, classes_, place.address,
                      {.node = place.node, .zone = place.zone})) {
      // Through another node's host port, a pod does not reach itself.
      const bool own = node_of_host_ports(port.name).empty() || key.local_node;
      Addresses others;
      add_port(cidr_id, port, ports, own ? here : others);
    }
    add_lone(place, std::move(here), everywhere, result.lone);
  }
  for (const auto& [own, addresses] : everywhere) {
    if (addresses.size() == 1) {
      result.lone[own] = addresses;
    }
  }
  for (auto& [number, port] : ports) {
    sort_unique(port.targets);
    result.ports.push_back(std::move(port));
  }
  return result;
}

void Frontends::set_ports(std::uint32_t cidr_id,
                          std::vector<FrontendPort> ports) {
  const auto each_target = [&](const std::vector<FrontendPort>& list,
                               const auto& visit) {
    for (const auto& port : list) {
      for (const auto& [target, number] : port.targets) {
        visit(target);
      }
    }
  };
  auto& stored = ports_[cidr_id];
  each_target(stored, [&](std::uint32_t target) {
    const auto it = fronts_of_.find(target);
    if (it != fronts_of_.end() && it->second.erase(cidr_id) != 0 &&
        it->second.empty()) {
      fronts_of_.erase(it);
    }
  });
  each_target(
      ports, [&](std::uint32_t target) { fronts_of_[target].insert(cidr_id); });
  stored = std::move(ports);
}

// Adds the classes of the Service's addresses or, for host ports, the node's.
void Frontends::add_classes_of(const std::string& name,
                               std::set<std::uint32_t>& ids) const {
  const auto& with = classes_.with_service(name);
  ids.insert(with.begin(), with.end());
  const std::string node(node_of_host_ports(name));
  for (const auto& address : classes_.addresses_of(node)) {
    for (const std::uint32_t id : classes_.classes_of(address)) {
      if (!classes_.key(id).frontend.empty()) {
        ids.insert(id);
      }
    }
  }
}

// Services' addresses that may have other ports, targets or lone backends.
std::set<std::uint32_t> Frontends::stale() const {
  const auto& changes = classes_.changes();
  std::set<std::uint32_t> ids;
  for (const std::uint32_t id : changes.created) {
    if (!classes_.key(id).frontend.empty()) {
      ids.insert(id);
    }
  }
  bool node_ports = services_.node_ports_changed();
  static const std::set<std::string> none;
  const auto& zoned = changes.rezoned.empty() ? none : services_.with_zones();
  for (const auto* names : {&services_.changes(), &changes.services, &zoned}) {
    for (const auto& name : *names) {
      add_classes_of(name, ids);
      node_ports = node_ports || services_.with_node_ports().contains(name);
    }
  }
  if (node_ports) {
    ids.insert(classes_.with_node_ports().begin(),
               classes_.with_node_ports().end());
  }
  return ids;
}

Frontends::Changes Frontends::update() {
  const auto& retired = classes_.changes().retired;
  Changes changes;
  for (const std::uint32_t id : stale()) {
    if (retired.contains(id)) {
      continue;
    }
    auto now = resolve(id);
    set_lone(id, now, changes.pods);
    const auto* known = ports(id);
    if (known == nullptr || *known != now.ports) {
      // Sets that depended only on the old backends have entries for it.
      set_ports(id, std::move(now.ports));
      changes.classes.insert(id);
    }
  }
  for (const std::uint32_t id : retired) {
    if (ports(id) != nullptr) {
      set_lone(id, {}, changes.pods);
      set_ports(id, {});
      ports_.erase(id);
    }
  }
  return changes;
}

// To be called before set_ports(). Adds the pods that are alone behind a port
// that changes.
void Frontends::set_lone(std::uint32_t cidr_id, const Resolved& now,
                         std::unordered_set<PodRecord*>& pods) {
  auto& stored = lone_[cidr_id];
  const auto* before = ports(cidr_id);
  const auto touch = [&](const IpAddress& address) {
    const auto& here = classes_.pods_at(address);
    pods.insert(here.begin(), here.end());
  };
  const auto contains = [](const LoneBackends& lone, const OwnPort& own,
                           const IpAddress& address) {
    const auto it = lone.find(own);
    return it != lone.end() && it->second.contains(address);
  };
  for (const auto& [own, addresses] : stored) {
    for (const auto& address : addresses) {
      if (!contains(now.lone, own, address)) {
        erase_from(lone_at_, address, own);
        touch(address);
      }
    }
  }
  for (const auto& [own, addresses] : now.lone) {
    const auto* then = find_port(before, own.protocol, own.port);
    const auto* here = find_port(&now.ports, own.protocol, own.port);
    const bool changed = then == nullptr || *then != *here;
    for (const auto& address : addresses) {
      lone_at_[address].insert(own);
      if (changed || !contains(stored, own, address)) {
        touch(address);
      }
    }
  }
  stored = now.lone;
  if (stored.empty()) {
    lone_.erase(cidr_id);
  }
}

}  // namespace sluice::policy
