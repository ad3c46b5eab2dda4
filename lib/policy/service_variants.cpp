// SPDX-License-Identifier: Apache-2.0
// The addresses behind which different nodes see different backends. Places see
// the same variant of an address if the same classes of peers are behind it at
// the same ports: one more node with the same kind of local backend changes
// nothing for the others.
#include "lib/policy/service_variants.h"

#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "lib/policy/hash.h"

namespace sluice::policy {
namespace {

// Computes the variants of addresses.
class Variation {
 public:
  Variation(const Services& services, const PeerClasses& classes)
      : services_(services), classes_(classes) {}

  // nullopt if the address is the same everywhere and has no host ports.
  std::optional<Variants> of(const IpAddress& address) {
    std::set<std::string> nodes;
    std::set<std::string> zones;
    if (!find_places(address, nodes, zones)) {
      return std::nullopt;
    }
    Variants result;
    result.otherwise = hash(address, {});
    for (const auto& node : nodes) {
      result.by_node[node] =
          hash(address, {.node = node, .zone = classes_.zone_of(node)});
    }
    for (const auto& zone : zones) {
      result.by_zone[zone] = hash(address, {.node = {}, .zone = zone});
    }
    return result;
  }

 private:
  // True if the address has variants.
  bool find_places(const IpAddress& address, std::set<std::string>& nodes,
                   std::set<std::string>& zones) const {
    bool found = false;
    for (const auto& port : ports_behind(services_, classes_, address, {})) {
      const auto front = services_.front(port.name, address);
      if (!node_of_host_ports(port.name).empty()) {
        found = true;
      }
      if (!port.view->is_special(front, address.v6)) {
        continue;
      }
      found = true;
      const auto* near = port.view->nearby(front, address.v6);
      for (const auto& [node, backends] : near->by_node) {
        nodes.insert(node);
      }
      for (const auto& [zone, backends] : near->by_zone) {
        zones.insert(zone);
      }
    }
    return found;
  }

  std::uint64_t hash_of_class(std::uint32_t cidr_id) {
    const auto [it, inserted] = hashes_.try_emplace(cidr_id);
    if (inserted) {
      it->second = classes_.plain_hash(cidr_id);
    }
    return it->second;
  }

  // Never 0.
  std::uint64_t hash(const IpAddress& address, const Site& site) {
    // Host ports of several nodes with the address are taken together. A
    // cluster address and another one never share a variant: from one node, the
    // same kinds of backends behind them may be different pods.
    std::map<std::tuple<std::string, Front, std::uint8_t, std::uint16_t>,
             std::set<std::pair<std::uint64_t, std::uint16_t>>>
        content;
    for (auto& port : ports_behind(services_, classes_, address, site)) {
      const auto front = services_.front(port.name, address);
      if (!node_of_host_ports(port.name).empty()) {
        port.name.clear();
      }
      auto& targets = content[{std::move(port.name), front, port.view->protocol,
                               port.number}];
      for (const auto& backend : *port.backends) {
        for (const std::uint32_t id : classes_.classes_of(backend.address)) {
          targets.emplace(hash_of_class(id), backend.port);
        }
      }
    }
    StableHash result;
    for (const auto& [key, targets] : content) {
      const auto& [name, front, protocol, number] = key;
      result.add(name).add(static_cast<std::uint64_t>(front));
      result.add(protocol).add(number);
      for (const auto& [target, port] : targets) {
        result.add(target).add(port);
      }
    }
    return result.value() == 0 ? 1 : result.value();
  }

  const Services& services_;
  const PeerClasses& classes_;
  std::unordered_map<std::uint32_t, std::uint64_t> hashes_;
};

}  // namespace

std::vector<BehindPort> ports_behind(const Services& services,
                                     const PeerClasses& classes,
                                     const IpAddress& address,
                                     const Site& site) {
  std::vector<BehindPort> result;
  for (const auto& name : classes.behind(address)) {
    const auto front = services.front(name, address);
    for (const auto& view : services.ports(name)) {
      const auto& backends = view.at(front, address.v6, site);
      const bool host_port = !node_of_host_ports(name).empty();
      const bool elsewhere = view.host_ip && *view.host_ip != address;
      // A pod without an address of the family has no host port there.
      if (!elsewhere && !(host_port && backends.empty())) {
        result.push_back({.name = name,
                          .view = &view,
                          .number = view.port,
                          .backends = &backends});
      }
    }
  }
  return result;
}

std::vector<BehindPort> node_ports_behind(const Services& services, bool v6) {
  std::vector<BehindPort> result;
  for (const auto& name : services.with_node_ports()) {
    for (const auto& view : services.ports(name)) {
      if (view.node_port != 0) {
        result.push_back({.name = name,
                          .view = &view,
                          .number = view.node_port,
                          .backends = &view.at(Front::kNode, v6, {})});
      }
    }
  }
  return result;
}

void update_variants(const Services& services, PeerClasses& classes) {
  const auto& changes = classes.changes();
  std::set<IpAddress> addresses = services.moved();
  const auto add = [&](const std::set<std::string>& names) {
    for (const auto& name : names) {
      const std::string node(node_of_host_ports(name));
      if (node.empty()) {
        const auto& own = services.addresses(name);
        addresses.insert(own.begin(), own.end());
      } else {
        const auto own = classes.addresses_of(node);
        addresses.insert(own.begin(), own.end());
      }
    }
  };
  add(services.changes());
  add(changes.services);
  if (!changes.rezoned.empty()) {
    add(services.with_zones());
  }
  // Addresses that nodes got or lost.
  for (const auto& [prefix, nodes] : changes.moves) {
    addresses.insert(prefix.address);
  }
  Variation variation(services, classes);
  for (const auto& address : addresses) {
    classes.set_variants(address, variation.of(address));
  }
  classes.update_variants();
}

}  // namespace sluice::policy
