// SPDX-License-Identifier: Apache-2.0
// Queries of peer classes: how a node sees an address, and which entries it
// needs for it.
#include <algorithm>

#include "lib/base/sequence.h"
#include "lib/policy/peer_classes.h"

namespace sluice::policy {
std::uint32_t PeerClasses::covering_class(const IpAddress& address,
                                          int below) const {
  const auto& f = family(address.v6);
  for (int length = below - 1; length >= 0; --length) {
    if (f.prefix_lengths[length] == 0) {
      continue;
    }
    const auto it = f.prefixes.find(make_prefix(address, length));
    if (it != f.prefixes.end() && it->second.refs != 0) {
      return it->second.cidr_id;
    }
  }
  return SLUICE_CIDR_ANY;
}

const ClassKey& PeerClasses::key(std::uint32_t cidr_id) const {
  static const ClassKey none;
  const auto it = classes_.find(cidr_id);
  return it == classes_.end() ? none : *it->second.key;
}

const std::set<std::uint32_t>& PeerClasses::with_selector(SelectorId id) const {
  static const std::set<std::uint32_t> none;
  const auto it = with_selector_.find(id);
  return it == with_selector_.end() ? none : it->second;
}

PeerClasses::Seen PeerClasses::seen(const IpPrefix& prefix) const {
  const auto& f = family(prefix.address.v6);
  if (prefix.length == prefix.address.bits()) {
    const auto it = f.addresses.find(prefix.address);
    if (it != f.addresses.end() && it->second.seen.shown) {
      return it->second.seen;
    }
  }
  const auto it = f.prefixes.find(prefix);
  return it == f.prefixes.end() || !it->second.seen.shown ? Seen{}
                                                          : it->second.seen;
}

const PeerClasses::AddressRecord* PeerClasses::find(
    const IpPrefix& prefix) const {
  if (prefix.length != prefix.address.bits()) {
    return nullptr;
  }
  const auto& addresses = family(prefix.address.v6).addresses;
  const auto it = addresses.find(prefix.address);
  return it == addresses.end() ? nullptr : &it->second;
}

const std::set<std::string>& PeerClasses::claimants(
    const IpPrefix& prefix) const {
  static const std::set<std::string> none;
  const auto* record = find(prefix);
  return record == nullptr ? none : record->claimants;
}

bool PeerClasses::is_in_object_of_node(const IpAddress& address) const {
  const auto* record = find(host_prefix(address));
  return record != nullptr && !record->nodes.empty();
}

PeerClasses::Viewer PeerClasses::viewer(const IpPrefix& prefix,
                                        const std::string& node,
                                        bool before) const {
  Viewer result{.node = node, .zone = zone_of(node)};
  if (const auto* record = find(prefix)) {
    result.kind = record->owners.contains(node) ? nodes_.at(node).kind : 0;
    result.claims = record->claimants.contains(node);
  }
  if (const auto it = changes_.rezoned.find(node);
      before && it != changes_.rezoned.end()) {
    result.zone = it->second;
  }
  return result;
}

const std::string& PeerClasses::zone_of(const std::string& node) const {
  static const std::string none;
  const auto it = nodes_.find(node);
  return it == nodes_.end() ? none : it->second.zone;
}

std::optional<std::uint32_t> PeerClasses::entry(const IpPrefix& prefix,
                                                const std::string& node,
                                                const ClassRefs& refs) const {
  return entry(seen(prefix), viewer(prefix, node),
               [&](std::uint32_t id) { return refs.contains(id); });
}

std::vector<PeerEntry> PeerClasses::entries(const std::string& node,
                                            const ClassRefs& refs) const {
  std::vector<IpPrefix> prefixes;
  prefixes.reserve(node_addresses_.size());
  for (const auto& address : node_addresses_) {
    prefixes.push_back(host_prefix(address));
  }
  if (const auto it = nodes_.find(node); it != nodes_.end()) {
    for (const auto& address : it->second.reported) {
      prefixes.push_back(host_prefix(address));
    }
  }
  for (const auto& [cidr_id, count] : refs) {
    visit(cidr_id, [&](const IpPrefix& prefix) { prefixes.push_back(prefix); });
  }
  sort_unique(prefixes);
  std::vector<PeerEntry> result;
  for (const auto& prefix : prefixes) {
    if (const auto cidr_id = entry(prefix, node, refs)) {
      result.push_back({.prefix = prefix, .cidr_id = *cidr_id});
    }
  }
  return result;
}

std::uint32_t PeerClasses::class_of(const IpAddress& address,
                                    const std::string& node) const {
  const auto exact = seen(host_prefix(address));
  if (!exact.shown) {
    return covering_class(address, address.bits());
  }
  return exact.as(viewer(host_prefix(address), node));
}

std::vector<std::uint32_t> PeerClasses::classes_of(
    const IpAddress& address) const {
  const auto exact = seen(host_prefix(address));
  if (!exact.shown) {
    return {covering_class(address, address.bits())};
  }
  return exact.ids();
}

const std::vector<PodRecord*>& PeerClasses::pods_at(
    const IpAddress& address) const {
  static const std::vector<PodRecord*> none;
  const auto& addresses = family(address.v6).addresses;
  const auto it = addresses.find(address);
  return it == addresses.end() ? none : it->second.pods;
}

std::string PeerClasses::pod_name(const IpAddress& address) const {
  const auto& f = family(address.v6);
  const auto it = f.addresses.find(address);
  if (it == f.addresses.end() || it->second.pods.empty()) {
    return {};
  }
  return it->second.owner()->name();
}

Occupant PeerClasses::occupant(const IpAddress& address) const {
  const auto& addresses = family(address.v6).addresses;
  const auto it = addresses.find(address);
  if (it == addresses.end()) {
    return {};
  }
  const auto& record = it->second;
  return {
      .pod = record.pods.empty() ? std::string() : record.owner()->name(),
      .node = record.owners.empty() ? std::string() : *record.owners.begin(),
      .services = record.services,
      .api_server = record.api};
}

std::optional<IpAddress> PeerClasses::node_address(const std::string& node,
                                                   bool v6) const {
  const auto it = nodes_.find(node);
  if (it == nodes_.end()) {
    return std::nullopt;
  }
  const auto& addresses = it->second.addresses;
  const auto found = std::ranges::find(addresses, v6, &IpAddress::v6);
  return found == addresses.end() ? std::nullopt : std::optional(*found);
}

const std::set<std::uint32_t>& PeerClasses::with_service(
    const std::string& name) const {
  static const std::set<std::uint32_t> none;
  const auto it = with_service_.find(name);
  return it == with_service_.end() ? none : it->second;
}

}  // namespace sluice::policy
