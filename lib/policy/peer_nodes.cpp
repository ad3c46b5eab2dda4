// SPDX-License-Identifier: Apache-2.0
// Which node has which address: those in Node objects, and those that agents
// have found and that are accepted. A node is all its addresses: any of them
// can make it the API server, and its labels apply to all of them.
#include <algorithm>
#include <array>
#include <utility>
#include <variant>

#include "lib/policy/peer_classes.h"

namespace sluice::policy {
namespace {

// NodeRestriction keeps kubelets from setting these.
constexpr std::array kControlPlane{"node-role.kubernetes.io/control-plane",
                                   "node-role.kubernetes.io/master"};

// Calls `visit(element, added)` for elements that are in only one of the two.
template <typename Visit>
void visit_difference(const std::set<IpAddress>& before,
                      const std::set<IpAddress>& now, const Visit& visit) {
  for (const auto& address : before) {
    if (!now.contains(address)) {
      visit(address, false);
    }
  }
  for (const auto& address : now) {
    if (!before.contains(address)) {
      visit(address, true);
    }
  }
}

void change(std::set<std::string>& names, const std::string& name, bool add) {
  if (add) {
    names.insert(name);
  } else {
    names.erase(name);
  }
}

}  // namespace

void PeerClasses::set_node(const kube::Node& node) {
  auto& record = nodes_[node.name];
  std::set<IpAddress> now(node.ips.begin(), node.ips.end());
  visit_difference(record.addresses, now,
                   [&](const IpAddress& address, bool added) {
                     change(touch(address).nodes, node.name, added);
                   });
  record.addresses = std::move(now);
  set_pod_cidrs(node.name, record, node.pod_cidrs);
  if (!record.known || record.labels != node.labels) {
    record.known = true;
    record.labels = node.labels;
    set_zone(node.name, record, node.labels);
    dirty_nodes_.insert(node.name);
  }
}

void PeerClasses::set_zone(const std::string& node, NodeRecord& record,
                           const kube::Labels& labels) {
  const auto it = labels.find("topology.kubernetes.io/zone");
  const std::string zone = it == labels.end() ? std::string() : it->second;
  if (zone != record.zone) {
    changes_.rezoned.try_emplace(node, record.zone);
    record.zone = zone;
  }
}

void PeerClasses::remove_node(const std::string& name) {
  const auto it = nodes_.find(name);
  if (it == nodes_.end()) {
    return;
  }
  set_reported(name, {});
  set_node({.name = name, .labels = {}, .ips = {}});
  it->second.known = false;
  dirty_nodes_.insert(name);
}

void PeerClasses::set_reported(const std::string& node,
                               std::set<IpAddress> addresses) {
  const auto it = nodes_.find(node);
  if (it == nodes_.end() || !it->second.known) {
    return;
  }
  std::erase_if(addresses,
                [](const IpAddress& address) { return !is_global(address); });
  visit_difference(it->second.reported, addresses,
                   [&](const IpAddress& address, bool added) {
                     change(touch(address).claimants, node, added);
                     changes_.moves[host_prefix(address)].insert(node);
                   });
  it->second.reported = std::move(addresses);
}

// Claims to addresses in the prefixes must be evaluated again.
void PeerClasses::set_pod_cidrs(const std::string& node, NodeRecord& record,
                                const std::vector<IpPrefix>& cidrs) {
  if (record.pod_cidrs == cidrs) {
    return;
  }
  const auto touch_range = [&](const IpPrefix& prefix) {
    auto& f = family(prefix.address.v6);
    for (auto it = f.addresses.lower_bound(prefix.address);
         it != f.addresses.end() && prefix.contains(it->first); ++it) {
      if (!it->second.claimants.empty()) {
        f.dirty_addresses.insert(it->first);
      }
    }
  };
  for (const auto& prefix : record.pod_cidrs) {
    pod_cidrs_[prefix].erase(node);
    if (pod_cidrs_[prefix].empty()) {
      pod_cidrs_.erase(prefix);
    }
    touch_range(prefix);
  }
  for (const auto& prefix : cidrs) {
    pod_cidrs_[prefix].insert(node);
    touch_range(prefix);
  }
  record.pod_cidrs = cidrs;
}

bool PeerClasses::is_in_pod_cidr_of_another(const IpAddress& address,
                                            const std::string& node) const {
  for (int length = 0; length <= address.bits(); ++length) {
    const auto it = pod_cidrs_.find(make_prefix(address, length));
    if (it != pod_cidrs_.end() &&
        std::ranges::any_of(it->second, [&](const std::string& other) {
          return other != node;
        })) {
      return true;
    }
  }
  return false;
}

// True if the address that the node's agent has found can be the node's. An
// agent reports for its own node only; but a node also carries addresses that
// are not its own (IPVS puts those of all Services on a separate device), and
// an agent may be compromised.
bool PeerClasses::believes(const IpAddress& address,
                           const AddressRecord& record,
                           const std::string& node) const {
  return record.services.empty() &&
         (record.nodes.empty() || record.nodes.contains(node)) &&
         !is_in_pod_cidr_of_another(address, node);
}

std::set<std::string> PeerClasses::owners_of(
    const IpAddress& address, const AddressRecord& record) const {
  if (!record.pods.empty()) {
    return {};
  }
  auto owners = record.nodes;
  for (const auto& node : record.claimants) {
    if (believes(address, record, node)) {
      owners.insert(node);
    }
  }
  return owners;
}

void PeerClasses::update_owners(const IpAddress& address) {
  auto& addresses = family(address.v6).addresses;
  const auto it = addresses.find(address);
  if (it == addresses.end()) {
    return;
  }
  auto& record = it->second;
  auto owners = owners_of(address, record);
  const bool same_api =
      record.api == std::exchange(record.api_told, record.api);
  if (same_api && owners == record.owners) {
    return;
  }
  for (const auto* names : {&owners, &record.owners}) {
    for (const auto& node : *names) {
      dirty_nodes_.insert(node);
      if (owners.contains(node) != record.owners.contains(node)) {
        changes_.moves[host_prefix(address)].insert(node);
      }
    }
  }
  record.owners = std::move(owners);
}

template <typename Visit>
void PeerClasses::visit_own(const std::string& name, const NodeRecord& record,
                            const Visit& visit) {
  for (const auto* addresses : {&record.addresses, &record.reported}) {
    for (const auto& address : *addresses) {
      auto& known = family(address.v6).addresses.at(address);
      if (known.owners.contains(name)) {
        visit(address, known);
      }
    }
  }
}

// If no Node object has the API server's address, any agent could report it and
// make its node the API server. In this case the node must also have a label
// that nodes cannot set themselves.
NodeKind PeerClasses::kind_of(const std::string& name,
                              const NodeRecord& record) {
  NodeKind kind;
  const bool control_plane = std::ranges::any_of(
      kControlPlane,
      [&](const char* label) { return record.labels.contains(label); });
  visit_own(
      name, record, [&](const IpAddress& ip, const AddressRecord& address) {
        kind.api =
            kind.api ||
            (address.api && (control_plane || record.addresses.contains(ip)));
      });
  for (const SelectorId id : node_selectors_) {
    if (matches(std::get<NodePeer>(selectors_.get(id).value).selector,
                record.labels)) {
      kind.selectors.push_back(id);
    }
  }
  return kind;
}

NodeKind PeerClasses::kind_of_owners(const AddressRecord& record) const {
  NodeKind all;
  std::set<SelectorId> ids;
  for (const auto& node : record.owners) {
    const auto& kind = *kinds_by_id_.at(nodes_.at(node).kind);
    all.api = all.api || kind.api;
    ids.insert(kind.selectors.begin(), kind.selectors.end());
  }
  all.selectors.assign(ids.begin(), ids.end());
  return all;
}

std::uint32_t PeerClasses::acquire_kind(const NodeKind& kind) {
  const auto [it, inserted] = kinds_.try_emplace(kind);
  if (inserted) {
    it->second.id = ++last_kind_;
    kinds_by_id_[it->second.id] = &it->first;
  }
  ++it->second.refs;
  return it->second.id;
}

void PeerClasses::release_kind(std::uint32_t id) {
  const auto it = kinds_by_id_.find(id);
  if (it == kinds_by_id_.end()) {
    return;
  }
  const auto kind = kinds_.find(*it->second);
  if (--kind->second.refs == 0) {
    kinds_by_id_.erase(it);
    kinds_.erase(kind);
  }
}

void PeerClasses::update_kind(const std::string& name, NodeRecord& record) {
  const auto before = record.kind;
  record.kind = acquire_kind(kind_of(name, record));
  release_kind(before);
  if (record.kind == before) {
    return;
  }
  visit_own(name, record, [&](const IpAddress& address, const AddressRecord&) {
    family(address.v6).dirty_addresses.insert(address);
    changes_.moves[host_prefix(address)].insert(name);
  });
}

void PeerClasses::use_node_selector(SelectorId id, bool add) {
  if (add) {
    node_selectors_.insert(id);
  } else {
    node_selectors_.erase(id);
  }
  for (const auto& [name, record] : nodes_) {
    dirty_nodes_.insert(name);
  }
}

// Updates the owners of addresses that may have changed hands, and the
// properties of these nodes; marks addresses of changed nodes as dirty.
void PeerClasses::update_nodes() {
  for (auto& f : families_) {
    for (const auto& address : f.dirty_addresses) {
      update_owners(address);
    }
  }
  for (const auto& name : std::exchange(dirty_nodes_, {})) {
    const auto it = nodes_.find(name);
    if (it->second.known) {
      update_kind(name, it->second);
    } else {
      release_kind(it->second.kind);
      nodes_.erase(it);
    }
  }
}

}  // namespace sluice::policy
