// SPDX-License-Identifier: Apache-2.0
// Addresses that mean different things on different nodes: those of Services
// whose backends depend on the client's node, and those of nodes with host
// ports.
#include <algorithm>
#include <utility>

#include "lib/base/sequence.h"
#include "lib/policy/peer_classes.h"
#include "lib/policy/services.h"

namespace sluice::policy {
std::vector<std::uint32_t> PeerClasses::Seen::ids() const {
  std::vector<std::uint32_t> result{cidr_id};
  for (const auto& [kind, id] : own) {
    result.push_back(id);
  }
  if (places != nullptr) {
    for (const auto* classes : {&places->by_node, &places->by_zone}) {
      for (const auto& [place, id] : *classes) {
        result.push_back(id);
      }
    }
  }
  sort_unique(result);
  return result;
}

void PeerClasses::set_variants(const IpAddress& address,
                               std::optional<Variants> variants) {
  const auto it = variants_.find(address);
  if (variants ? it != variants_.end() && it->second == *variants
               : it == variants_.end()) {
    return;
  }
  if (variants) {
    variants_[address] = std::move(*variants);
  } else {
    variants_.erase(it);
  }
  dirty_variants_.insert(address);
}

// Nodes that have the address are named in the result, because they see it in
// another way than the rest of their zone.
std::shared_ptr<const ByPlace<std::uint32_t>> PeerClasses::acquire_places(
    const IpAddress& address, const AddressRecord& record,
    const Variants& variants) {
  ByPlace<std::uint32_t> result;
  const auto class_for = [&](const std::string& node, std::uint64_t variant) {
    const NodeKind* own = record.owners.contains(node)
                              ? kinds_by_id_.at(nodes_.at(node).kind)
                              : nullptr;
    return acquire(key_of(address, record, own, variant));
  };
  for (const auto& [node, variant] : variants.by_node) {
    result.by_node[node] = class_for(node, variant);
  }
  for (const auto& [zone, variant] : variants.by_zone) {
    result.by_zone[zone] = acquire(key_of(address, record, nullptr, variant));
  }
  for (const auto& node : record.owners) {
    const auto it = variants.by_zone.find(zone_of(node));
    if (it != variants.by_zone.end() && !variants.by_node.contains(node)) {
      result.by_node[node] = class_for(node, it->second);
    }
  }
  return std::make_shared<const ByPlace<std::uint32_t>>(std::move(result));
}

std::vector<std::string> PeerClasses::behind(const IpAddress& address) const {
  const auto& addresses = family(address.v6).addresses;
  const auto it = addresses.find(address);
  if (it == addresses.end()) {
    return {};
  }
  auto result = it->second.services;
  for (const auto& node : it->second.owners) {
    result.push_back(host_ports_of(node));
  }
  return result;
}

std::vector<IpAddress> PeerClasses::addresses_of(
    const std::string& node) const {
  std::vector<IpAddress> result;
  const auto it = nodes_.find(node);
  if (it == nodes_.end()) {
    return result;
  }
  for (const auto* list : {&it->second.addresses, &it->second.reported}) {
    for (const auto& address : *list) {
      const auto& addresses = family(address.v6).addresses;
      const auto known = addresses.find(address);
      if (known != addresses.end() && known->second.owners.contains(node)) {
        result.push_back(address);
      }
    }
  }
  return result;
}

bool PeerClasses::is_subject_to(const Place& place,
                                const std::string& node) const {
  if (!place.node.empty()) {
    return place.node == node;
  }
  const auto seen = this->seen(host_prefix(place.address));
  if (seen.places == nullptr) {
    return true;
  }
  const auto& zone = zone_of(node);
  return !seen.places->by_node.contains(node) &&
         (place.zone.empty() ? !seen.places->by_zone.contains(zone)
                             : place.zone == zone);
}

std::vector<PeerClasses::Place> PeerClasses::places_of(
    std::uint32_t cidr_id) const {
  std::vector<Place> result;
  const auto it = classes_.find(cidr_id);
  if (it == classes_.end()) {
    return result;
  }
  const bool alike = it->second.key->frontend.variant == 0;
  for (const auto& member : it->second.members) {
    if (alike && !result.empty()) {
      break;
    }
    const auto seen = this->seen(member);
    const auto& address = member.address;
    const bool elsewhere = seen.cidr_id == cidr_id ||
                           std::ranges::any_of(seen.own, [&](const auto& own) {
                             return own.second == cidr_id;
                           });
    if (elsewhere) {
      result.push_back({.address = address, .node = {}, .zone = {}});
    }
    if (seen.places == nullptr) {
      continue;
    }
    for (const auto& [node, id] : seen.places->by_node) {
      if (id == cidr_id) {
        result.push_back(
            {.address = address, .node = node, .zone = zone_of(node)});
      }
    }
    for (const auto& [zone, id] : seen.places->by_zone) {
      if (id == cidr_id) {
        result.push_back({.address = address, .node = {}, .zone = zone});
      }
    }
  }
  return result;
}

}  // namespace sluice::policy
