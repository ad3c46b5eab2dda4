// SPDX-License-Identifier: Apache-2.0
// The prefixes that the CIDRs, CIDR groups and excepts in use name, and the
// selectors that cover a prefix.
#include <algorithm>
#include <variant>

#include "lib/policy/peer_classes.h"

namespace sluice::policy {

void PeerClasses::set_group(const kube::CidrGroup& group) {
  auto& stored = groups_[group.name];
  if (stored == group) {
    return;
  }
  stored = group;
  std::vector<SelectorId> changed;
  for (const auto& [id, registered] : registered_) {
    if (std::holds_alternative<CidrGroupPeer>(selectors_.get(id).value) &&
        registered.cidrs != cidrs_of(id)) {
      changed.push_back(id);
    }
  }
  for (const SelectorId id : changed) {
    register_cidrs(id, false);
    register_cidrs(id, true);
  }
}

void PeerClasses::remove_group(const std::string& name) {
  if (groups_.contains(name)) {
    set_group({.name = name, .labels = {}, .cidrs = {}});
    groups_.erase(name);
  }
}

std::vector<IpPrefix> PeerClasses::cidrs_of(SelectorId id) const {
  const auto& value = selectors_.get(id).value;
  if (const auto* cidr = std::get_if<CidrPeer>(&value)) {
    return {cidr->cidr};
  }
  std::set<IpPrefix> cidrs;
  const auto& peer = std::get<CidrGroupPeer>(value);
  for (const auto& [name, group] : groups_) {
    if (peer.selector ? matches(*peer.selector, group.labels)
                      : name == peer.name) {
      cidrs.insert(group.cidrs.begin(), group.cidrs.end());
    }
  }
  return {cidrs.begin(), cidrs.end()};
}

PeerClasses::Excepted PeerClasses::excepted(SelectorId id) const {
  const auto& value = selectors_.get(id).value;
  if (const auto* cidr = std::get_if<CidrPeer>(&value)) {
    return {.except = &cidr->except, .external_only = cidr->external_only};
  }
  return {.except = &std::get<CidrGroupPeer>(value).except};
}

void PeerClasses::mark_range(const IpPrefix& prefix, bool pods_too) {
  auto& f = family(prefix.address.v6);
  for (auto it = f.prefixes.lower_bound(prefix);
       it != f.prefixes.end() && prefix.contains(it->first); ++it) {
    f.dirty_prefixes.insert(it->first);
  }
  for (auto it = f.addresses.lower_bound(prefix.address);
       it != f.addresses.end() && prefix.contains(it->first); ++it) {
    if (pods_too || it->second.is_world()) {
      f.dirty_addresses.insert(it->first);
    } else {
      f.dirty_entries.insert(it->first);
    }
  }
}

void PeerClasses::reference_prefix(const IpPrefix& prefix, bool add) {
  auto& f = family(prefix.address.v6);
  auto& record = f.prefixes[prefix];
  if (add) {
    if (record.refs++ == 0) {
      ++f.prefix_lengths[prefix.length];
    }
  } else if (--record.refs == 0) {
    --f.prefix_lengths[prefix.length];
  }
  f.dirty_prefixes.insert(prefix);
}

bool PeerClasses::Registered::excludes(const IpPrefix& prefix) const {
  for (int length = 0; length <= prefix.length; ++length) {
    if (lengths[static_cast<std::size_t>(length)] &&
        std::ranges::binary_search(except,
                                   make_prefix(prefix.address, length))) {
      return true;
    }
  }
  return false;
}

void PeerClasses::register_cidrs(SelectorId id, bool add) {
  if (add) {
    const auto [except, external_only] = excepted(id);
    Registered added{.cidrs = cidrs_of(id),
                     .except = *except,
                     .lengths = {},
                     .external_only = external_only};
    std::ranges::sort(added.except);
    for (const auto& hole : added.except) {
      added.lengths.set(static_cast<std::size_t>(hole.length));
    }
    registered_[id] = std::move(added);
  }
  const auto& registered = registered_.at(id);
  for (const auto& cidr : registered.cidrs) {
    auto& f = family(cidr.address.v6);
    auto& ids = f.cidrs[cidr];
    if (add) {
      ids.push_back(id);
      ++f.cidr_lengths[cidr.length];
    } else {
      std::erase(ids, id);
      --f.cidr_lengths[cidr.length];
      if (ids.empty()) {
        f.cidrs.erase(cidr);
      }
    }
    reference_prefix(cidr, add);
    for (const auto& hole : registered.except) {
      if (cidr.contains(hole)) {
        reference_prefix(hole, add);
      }
    }
    mark_range(cidr, !registered.external_only || cidr_match_all_);
  }
  if (!add) {
    registered_.erase(id);
  }
}

std::vector<SelectorId> PeerClasses::covering(const IpPrefix& prefix,
                                              bool external) const {
  const auto& f = family(prefix.address.v6);
  std::vector<SelectorId> ids;
  for (int length = 0; length <= prefix.length; ++length) {
    if (f.cidr_lengths[length] == 0) {
      continue;
    }
    const auto it = f.cidrs.find(make_prefix(prefix.address, length));
    if (it == f.cidrs.end()) {
      continue;
    }
    for (const SelectorId id : it->second) {
      const auto& registered = registered_.at(id);
      if ((external || !registered.external_only || cidr_match_all_) &&
          !registered.excludes(prefix)) {
        ids.push_back(id);
      }
    }
  }
  return ids;
}

}  // namespace sluice::policy
