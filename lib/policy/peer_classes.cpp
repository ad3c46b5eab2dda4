// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/peer_classes.h"

#include <algorithm>
#include <utility>

#include "lib/base/sequence.h"
#include "lib/policy/hash.h"

namespace sluice::policy {
namespace {

constexpr bool kV4 = false;
constexpr bool kV6 = true;

IpPrefix whole_family(bool v6) {
  IpPrefix prefix;
  prefix.address.v6 = v6;
  return prefix;
}

Reserved world(bool v6, bool api) {
  if (api) {
    return v6 ? Reserved::kWorldApi6 : Reserved::kWorldApi4;
  }
  return v6 ? Reserved::kWorld6 : Reserved::kWorld4;
}

Reserved reserved_kind(Entity entity) {
  switch (entity) {
    case Entity::kHealth:
      return Reserved::kHealth;
    case Entity::kInit:
      return Reserved::kInit;
    case Entity::kIngress:
      return Reserved::kIngress;
    default:
      return Reserved::kUnmanaged;
  }
}

std::vector<SelectorId> merge(std::vector<SelectorId> a,
                              const std::vector<SelectorId>& b) {
  a.insert(a.end(), b.begin(), b.end());
  sort_unique(a);
  return a;
}

}  // namespace

const PodRecord* PeerClasses::AddressRecord::owner() const {
  return *std::ranges::max_element(
      pods, [](const auto* a, const auto* b) { return b->newer_than(*a); });
}

PeerClasses::AddressRecord& PeerClasses::touch(const IpAddress& address) {
  auto& f = family(address.v6);
  f.dirty_addresses.insert(address);
  // A prefix of full length gives way to an owned address.
  if (f.prefixes.contains(host_prefix(address))) {
    f.dirty_prefixes.insert(host_prefix(address));
  }
  return f.addresses[address];
}

void PeerClasses::add_pod(const IpAddress& address, PodRecord* pod) {
  auto& pods = touch(address).pods;
  if (std::ranges::find(pods, pod) == pods.end()) {
    pods.push_back(pod);
  }
}

void PeerClasses::remove_pod(const IpAddress& address, PodRecord* pod) {
  std::erase(touch(address).pods, pod);
}

void PeerClasses::set_api_addresses(const std::set<IpAddress>& addresses) {
  for (const auto& address : api_addresses_) {
    touch(address).api = addresses.contains(address);
  }
  for (const auto& address : addresses) {
    touch(address).api = true;
  }
  api_addresses_ = addresses;
}

void PeerClasses::set_reserved(const IpAddress& address,
                               std::optional<Entity> entity) {
  touch(address).reserved = entity;
}

void PeerClasses::add_service(const IpAddress& address,
                              const std::string& service) {
  auto& services = touch(address).services;
  const auto it = std::ranges::lower_bound(services, service);
  if (it == services.end() || *it != service) {
    services.insert(it, service);
  }
}

void PeerClasses::remove_service(const IpAddress& address,
                                 const std::string& service) {
  std::erase(touch(address).services, service);
}

void PeerClasses::add_backend(const IpAddress& address,
                              const std::string& service) {
  touch(address).backend_of.insert(service);
}

void PeerClasses::remove_backend(const IpAddress& address,
                                 const std::string& service) {
  touch(address).backend_of.erase(service);
}

void PeerClasses::set_node_ports(bool any) {
  if (node_ports_ == any) {
    return;
  }
  node_ports_ = any;
  for (auto& f : families_) {
    for (const auto& [address, record] : f.addresses) {
      if (record.is_node()) {
        f.dirty_addresses.insert(address);
      }
    }
  }
}

void PeerClasses::use_port_name(const std::string& name) {
  if (port_names_[name]++ != 0) {
    return;
  }
  for (auto& f : families_) {
    for (const auto& [address, record] : f.addresses) {
      f.dirty_addresses.insert(address);
    }
  }
}

void PeerClasses::unuse_port_name(const std::string& name) {
  if (--port_names_[name] != 0) {
    return;
  }
  port_names_.erase(name);
  for (auto& f : families_) {
    for (const auto& [address, record] : f.addresses) {
      if (with_ports_.contains(record.seen.cidr_id)) {
        f.dirty_addresses.insert(address);
      }
    }
  }
}

ClassKey PeerClasses::key_of(const IpPrefix& prefix) const {
  return {
      .selectors = merge(selectors_.peers_of(world(prefix.address.v6, false)),
                         covering(prefix, true)),
      .ports = {}};
}

ClassKey PeerClasses::plain_key_of(const IpAddress& address,
                                   const AddressRecord& record,
                                   const NodeKind* own) const {
  const auto exact = host_prefix(address);
  if (!record.pods.empty()) {
    const auto* pod = record.owner();
    return {
        .selectors = merge(selectors_.peers_of(*pod), covering(exact, false)),
        .ports = resolve_ports(pod->pod, port_names_)};
  }
  if (record.is_node()) {
    const bool local = own != nullptr;
    const auto seen = local ? Reserved::kHost : Reserved::kRemote;
    const auto seen_api = local ? Reserved::kHostApi : Reserved::kRemoteApi;
    const auto kind = local ? *own : kind_of_owners(record);
    return {
        .selectors = merge(
            merge(selectors_.peers_of(kind.api || record.api ? seen_api : seen),
                  covering(exact, false)),
            kind.selectors),
        .ports = {},
        .node = true,
        .local_node = local};
  }
  if (record.reserved) {
    return {.selectors = selectors_.peers_of(reserved_kind(*record.reserved)),
            .ports = {}};
  }
  return {.selectors = merge(selectors_.peers_of(world(address.v6, record.api)),
                             covering(exact, true)),
          .ports = {}};
}

ClassKey PeerClasses::key_of(const IpAddress& address,
                             const AddressRecord& record, const NodeKind* own,
                             std::uint64_t variant) const {
  auto key = plain_key_of(address, record, own);
  key.frontend.services = record.services;
  key.frontend.node_ports = node_ports_ && record.is_node();
  key.frontend.variant = variant;
  key.frontend.v6 = address.v6 && !key.frontend.empty();
  return key;
}

void PeerClasses::note_change(const IpPrefix& prefix) {
  changes_.peers.try_emplace(prefix, seen(prefix));
}

void PeerClasses::move_member(const IpPrefix& prefix, const Seen& before,
                              const Seen& now) {
  const auto change = [&](std::uint32_t cidr_id, bool add) {
    if (cidr_id == SLUICE_CIDR_ANY) {
      return;
    }
    auto& members = classes_.at(cidr_id).members;
    if (add) {
      members.insert(prefix);
    } else {
      members.erase(prefix);
    }
  };
  const auto change_all = [&](const Seen& seen, bool add) {
    if (seen.shown) {
      for (const std::uint32_t cidr_id : seen.ids()) {
        change(cidr_id, add);
      }
    }
  };
  change_all(before, false);
  change_all(now, true);
}

void PeerClasses::update_prefix(Family& f, const IpPrefix& prefix) {
  const auto it = f.prefixes.find(prefix);
  if (it == f.prefixes.end()) {
    return;
  }
  auto& record = it->second;
  const auto old_class = record.cidr_id;
  record.cidr_id = record.refs == 0 ? SLUICE_CIDR_ANY : acquire(key_of(prefix));
  const bool masked = prefix.length == prefix.address.bits() &&
                      f.addresses.contains(prefix.address) &&
                      f.addresses.at(prefix.address).owned();
  Seen now{.shown = record.refs != 0 && !masked,
           .cidr_id = record.cidr_id,
           .cover = covering_class(prefix.address, prefix.length),
           .own = {}};
  if (!now.shown) {
    now = {};
  }
  if (now != record.seen) {
    note_change(prefix);
    move_member(prefix, record.seen, now);
    record.seen = now;
  }
  release(old_class);
  if (record.refs == 0) {
    f.prefixes.erase(it);
  }
}

// The class is unchanged, but the enclosing prefix may be another one.
void PeerClasses::update_cover(const IpAddress& address,
                               AddressRecord& record) {
  const auto cover = covering_class(address, address.bits());
  if (record.seen.shown && cover != record.seen.cover) {
    note_change(host_prefix(address));
    record.seen.cover = cover;
  }
}

void PeerClasses::update_address(Family& f, const IpAddress& address) {
  const auto it = f.addresses.find(address);
  if (it == f.addresses.end()) {
    return;
  }
  auto& record = it->second;
  Seen now;
  if (record.owned()) {
    now.shown = true;
    const auto it_variants = variants_.find(address);
    const bool varies = it_variants != variants_.end();
    const std::uint64_t variant = varies ? it_variants->second.otherwise : 0;
    now.cidr_id = acquire(key_of(address, record, nullptr, variant));
    std::set<std::uint32_t> kinds;
    for (const auto& node : record.owners) {
      kinds.insert(nodes_.at(node).kind);
    }
    for (const std::uint32_t kind : kinds) {
      now.own.emplace_back(
          kind,
          acquire(key_of(address, record, kinds_by_id_.at(kind), variant)));
    }
    if (varies) {
      now.places = acquire_places(address, record, it_variants->second);
    }
    now.cover = covering_class(address, address.bits());
  }
  if (record.is_node()) {
    node_addresses_.insert(address);
  } else {
    node_addresses_.erase(address);
  }
  const auto before = record.seen;
  if (now != before) {
    note_change(host_prefix(address));
    move_member(host_prefix(address), before, now);
    record.seen = now;
    if (!now.shown) {
      // A prefix of full length that it hid may have the same class.
      move_member(host_prefix(address), {}, seen(host_prefix(address)));
    }
    if (now.ids() != before.ids()) {
      changes_.services.insert(record.backend_of.begin(),
                               record.backend_of.end());
    }
  }
  release(before);
  if (!record.owned()) {
    f.addresses.erase(it);
  }
}

void PeerClasses::update_root(bool v6) {
  auto& f = family(v6);
  const bool wanted = !selectors_.peers_of(world(v6, false)).empty();
  if (wanted != f.root) {
    f.root = wanted;
    reference_prefix(whole_family(v6), wanted);
  }
  mark_range(whole_family(v6), false);
}

void PeerClasses::apply_selector_changes() {
  const auto& changes = selectors_.changes();
  const auto use = [&](SelectorId id, bool add) {
    if (std::holds_alternative<NodePeer>(selectors_.get(id).value)) {
      use_node_selector(id, add);
    } else {
      register_cidrs(id, add);
    }
  };
  for (const SelectorId id : changes.removed) {
    use(id, false);
  }
  for (const SelectorId id : changes.added) {
    use(id, true);
  }
  for (auto* pod : changes.peers) {
    for (const auto& address : pod->pod.ips) {
      family(address.v6).dirty_addresses.insert(address);
    }
  }
  bool others = false;
  for (const Reserved kind : changes.reserved) {
    if (kind == Reserved::kWorld4 || kind == Reserved::kWorld6) {
      update_root(kind == Reserved::kWorld6);
    } else {
      others = true;
    }
  }
  if (!others) {
    return;
  }
  for (auto& f : families_) {
    for (const auto& [address, record] : f.addresses) {
      if (record.pods.empty()) {
        f.dirty_addresses.insert(address);
      }
    }
  }
}

void PeerClasses::update() {
  apply_selector_changes();
  update_nodes();
  for (const bool v6 : {kV4, kV6}) {
    auto& f = family(v6);
    // Members of a prefix that is added or removed now have another enclosing
    // class.
    for (const auto& prefix : std::set(f.dirty_prefixes)) {
      mark_range(prefix, false);
    }
    // In order, so that an enclosing prefix is updated first. A prefix that is
    // being removed still exists but no longer counts.
    for (const auto& prefix : std::exchange(f.dirty_prefixes, {})) {
      update_prefix(f, prefix);
    }
    for (const auto& address : std::exchange(f.dirty_addresses, {})) {
      update_address(f, address);
    }
    for (const auto& address : std::exchange(f.dirty_entries, {})) {
      const auto it = f.addresses.find(address);
      if (it == f.addresses.end()) {
        continue;
      }
      update_cover(address, it->second);
    }
  }
}

void PeerClasses::update_variants() {
  // Nodes with such an address are named in its places, by their zones.
  for (const auto& [node, zone] : changes_.rezoned) {
    for (const auto& address : addresses_of(node)) {
      if (variants_.contains(address)) {
        dirty_variants_.insert(address);
      }
    }
  }
  for (const auto& address : std::exchange(dirty_variants_, {})) {
    update_address(family(address.v6), address);
  }
}

void PeerClasses::clear_changes() {
  for (const std::uint32_t cidr_id : changes_.retired) {
    const auto it = classes_.find(cidr_id);
    const auto key = *it->second.key;
    index_class(cidr_id, key, false);
    classes_.erase(it);
    ids_.erase(key);
  }
  changes_ = {};
}

// What the key says without what is behind it.
StableHash PeerClasses::plain_hash_of(const ClassKey& key) const {
  std::vector<std::uint64_t> hashes;
  hashes.reserve(key.selectors.size());
  for (const SelectorId id : key.selectors) {
    hashes.push_back(selectors_.get(id).hash);
  }
  std::ranges::sort(hashes);
  StableHash hash;
  hash.add("class");
  for (const auto one : hashes) {
    hash.add(one);
  }
  for (const auto& port : key.ports) {
    hash.add(port.name).add(port.protocol).add(port.port);
  }
  return hash;
}

std::uint64_t PeerClasses::plain_hash(std::uint32_t cidr_id) const {
  const auto& key = this->key(cidr_id);
  auto hash = plain_hash_of(key);
  hash.add(key.node ? 1 : 0).add(key.local_node ? 1 : 0);
  return hash.value();
}

std::uint32_t PeerClasses::hash_id(const ClassKey& key) const {
  const std::uint32_t marks = (key.node ? SLUICE_CIDR_NODE : 0) |
                              (key.local_node ? SLUICE_CIDR_LOCAL_NODE : 0);
  if (key.plain()) {
    return marks;
  }
  auto hash = plain_hash_of(key);
  if (!key.frontend.empty()) {
    hash.add("services").add(key.frontend.node_ports ? 1 : 0);
    hash.add(key.frontend.v6 ? 1 : 0);
    for (const auto& name : key.frontend.services) {
      hash.add(name);
    }
    if (key.frontend.variant != 0) {
      hash.add("variant").add(key.frontend.variant);
    }
  }
  constexpr std::uint32_t kMask = SLUICE_CIDR_NAME - 1;
  auto id = static_cast<std::uint32_t>(hash.value()) & kMask;
  while (id == 0 || classes_.contains(id | marks)) {
    id = (id + 1) & kMask;
  }
  return id | marks;
}

std::uint32_t PeerClasses::acquire(const ClassKey& key) {
  if (key.empty()) {
    return SLUICE_CIDR_ANY;
  }
  auto it = ids_.find(key);
  if (it == ids_.end()) {
    const auto id = hash_id(key);
    it = ids_.emplace(key, id).first;
    classes_[id] = {.key = &it->first, .refs = 0, .members = {}};
    index_class(id, key, true);
    changes_.created.insert(id);
  }
  auto& record = classes_[it->second];
  ++record.refs;
  changes_.retired.erase(it->second);
  return it->second;
}

void PeerClasses::release(std::uint32_t cidr_id) {
  if (cidr_id != SLUICE_CIDR_ANY && --classes_[cidr_id].refs == 0) {
    changes_.retired.insert(cidr_id);
  }
}

void PeerClasses::release(const Seen& seen) {
  release(seen.cidr_id);
  for (const auto& [kind, cidr_id] : seen.own) {
    release(cidr_id);
  }
  if (seen.places != nullptr) {
    for (const auto* places : {&seen.places->by_node, &seen.places->by_zone}) {
      for (const auto& [place, cidr_id] : *places) {
        release(cidr_id);
      }
    }
  }
}

void PeerClasses::index_class(std::uint32_t cidr_id, const ClassKey& key,
                              bool add) {
  for (const SelectorId id : key.selectors) {
    if (add) {
      with_selector_[id].insert(cidr_id);
    } else if (auto& ids = with_selector_[id];
               ids.erase(cidr_id) != 0 && ids.empty()) {
      with_selector_.erase(id);
    }
  }
  const auto change = [&](std::set<std::uint32_t>& ids) {
    if (add) {
      ids.insert(cidr_id);
    } else {
      ids.erase(cidr_id);
    }
  };
  if (!key.ports.empty()) {
    change(with_ports_);
  }
  if (key.frontend.node_ports) {
    change(with_node_ports_);
  }
  for (const auto& name : key.frontend.services) {
    change(with_service_[name]);
    if (with_service_[name].empty()) {
      with_service_.erase(name);
    }
  }
}

}  // namespace sluice::policy
