// SPDX-License-Identifier: Apache-2.0
#include "agent/own_peers.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace sluice::agent {
namespace {

bool is_exact(const IpPrefix& prefix) {
  return prefix.length == prefix.address.bits();
}

bool has(const std::vector<PeerEntry>& peers, const IpPrefix& prefix) {
  const auto it =
      std::ranges::lower_bound(peers, prefix, {}, &PeerEntry::prefix);
  return it != peers.end() && it->prefix == prefix;
}

sluice_policy_key marked(sluice_policy_key key) {
  key.cidr_id |= OwnPeers::kMark;
  return key;
}

}  // namespace

void OwnPeers::Changes::add(const Changes& later) {
  peers.insert(peers.end(), later.peers.begin(), later.peers.end());
  entries.insert(entries.end(), later.entries.begin(), later.entries.end());
}

bool OwnPeers::note_peer(const Transaction::PeerChange& change) {
  if (!is_exact(change.prefix)) {
    prefixes_.set(change.prefix, change.cidr_id);
    return true;
  }
  const auto& address = change.prefix.address;
  if (!addresses_.contains(address)) {
    return false;
  }
  if (change.cidr_id) {
    exact_.insert(address);
  } else {
    exact_.erase(address);
    // The change would remove the added peer, too, so it is added again.
    layer_.erase(address);
  }
  return true;
}

bool OwnPeers::note_endpoint(const std::string& name,
                             const std::vector<IpAddress>& addresses) {
  bool own = false;
  const auto known = endpoints_.find(name);
  if (known != endpoints_.end()) {
    for (const auto& address : known->second) {
      own = own || addresses_.contains(address);
      if (--endpoint_refs_[address] == 0) {
        endpoint_refs_.erase(address);
      }
    }
    endpoints_.erase(known);
  }
  if (addresses.empty()) {
    return own;
  }
  for (const auto& address : addresses) {
    own = own || addresses_.contains(address);
    ++endpoint_refs_[address];
  }
  endpoints_[name] = addresses;
  return own;
}

std::map<IpAddress, std::uint32_t> OwnPeers::wanted_layer() const {
  const PeerView view(prefixes_);
  std::map<IpAddress, std::uint32_t> layer;
  for (const auto& address : addresses_) {
    if (!exact_.contains(address) && !endpoint_refs_.contains(address)) {
      layer[address] = view.cover(host_prefix(address)) | kMark;
    }
  }
  return layer;
}

// If the state has the peer itself, its own change determines the result.
void OwnPeers::settle_peers(Changes& changes) {
  auto layer = wanted_layer();
  for (const auto& [address, cidr_id] : layer_) {
    if (!layer.contains(address) && !exact_.contains(address)) {
      changes.peers.push_back(
          {.prefix = host_prefix(address), .cidr_id = std::nullopt});
    }
  }
  for (const auto& [address, cidr_id] : layer) {
    const auto it = layer_.find(address);
    if (it == layer_.end() || it->second != cidr_id) {
      changes.peers.push_back(
          {.prefix = host_prefix(address), .cidr_id = cidr_id});
    }
  }
  layer_ = std::move(layer);
}

// The marked classes in use have their entries, and no others do.
void OwnPeers::settle_entries(Changes& changes, const Wanted& wanted) {
  std::set<std::uint32_t> classes;
  for (const auto& [address, cidr_id] : layer_) {
    classes.insert(cidr_id & ~kMark);
  }
  // All entries of class 0 count for every class.
  classes.erase(SLUICE_CIDR_ANY);
  std::erase_if(copied_, [&](const auto& copied) {
    if (classes.contains(copied.first)) {
      return false;
    }
    for (const auto& [key, value] : copied.second) {
      changes.entries.push_back({.key = marked(key), .value = std::nullopt});
    }
    return true;
  });
  std::erase_if(classes, [&](auto id) { return copied_.contains(id); });
  if (classes.empty()) {
    return;
  }
  for (const std::uint32_t id : classes) {
    copied_[id];
  }
  for (const auto& entry : wanted().entries) {
    if (classes.contains(entry.key.cidr_id)) {
      copied_[entry.key.cidr_id].emplace(entry.key, entry.value);
      changes.entries.push_back(
          {.key = marked(entry.key), .value = entry.value});
    }
  }
}

OwnPeers::Changes OwnPeers::set_addresses(
    const std::vector<IpAddress>& addresses, const State& wanted) {
  addresses_ = {addresses.begin(), addresses.end()};
  exact_.clear();
  for (const auto& address : addresses_) {
    if (has(wanted.peers, host_prefix(address))) {
      exact_.insert(address);
    }
  }
  Changes changes;
  // An added address that the node has lost is removed.
  settle_peers(changes);
  settle_entries(changes,
                 [state = &wanted]() -> const State& { return *state; });
  return changes;
}

void OwnPeers::replace(const State& wanted) {
  exact_.clear();
  prefixes_ = {};
  endpoints_.clear();
  endpoint_refs_.clear();
  layer_.clear();
  copied_.clear();
  for (const auto& peer : wanted.peers) {
    note_peer({.prefix = peer.prefix, .cidr_id = peer.cidr_id});
  }
  for (const auto& endpoint : wanted.endpoints) {
    note_endpoint(endpoint.name, endpoint.ips);
  }
  Changes all;
  settle_peers(all);
  settle_entries(all, [state = &wanted]() -> const State& { return *state; });
}

OwnPeers::Changes OwnPeers::apply(const Transaction& transaction,
                                  const Wanted& wanted) {
  bool moved = false;
  for (const auto& change : transaction.peers) {
    moved = note_peer(change) || moved;
  }
  for (const auto& change : transaction.endpoints) {
    const bool own =
        note_endpoint(change.name, change.value ? change.value->ips
                                                : std::vector<IpAddress>{});
    moved = own || moved;
  }
  Changes changes;
  for (const auto& change : transaction.entries) {
    const auto it = copied_.find(change.key.cidr_id);
    if (it == copied_.end()) {
      continue;
    }
    if (change.value) {
      it->second.insert_or_assign(change.key, *change.value);
    } else {
      it->second.erase(change.key);
    }
    changes.entries.push_back(
        {.key = marked(change.key), .value = change.value});
  }
  if (moved) {
    settle_peers(changes);
    settle_entries(changes, wanted);
  }
  return changes;
}

OwnPeers::Layer OwnPeers::layer() const {
  Layer result;
  result.peers.reserve(layer_.size());
  for (const auto& [address, cidr_id] : layer_) {
    result.peers.push_back(
        {.prefix = host_prefix(address), .cidr_id = cidr_id});
  }
  for (const auto& [cidr_id, entries] : copied_) {
    for (const auto& [key, value] : entries) {
      result.entries.push_back({.key = marked(key), .value = value});
    }
  }
  return result;
}

Transaction with_own(Transaction transaction,
                     const OwnPeers::Changes& changes) {
  std::set<IpPrefix> ours;
  for (const auto& change : changes.peers) {
    ours.insert(change.prefix);
  }
  std::erase_if(transaction.peers, [&](const auto& change) {
    return ours.contains(change.prefix);
  });
  transaction.peers.insert(transaction.peers.end(), changes.peers.begin(),
                           changes.peers.end());
  transaction.entries.insert(transaction.entries.end(), changes.entries.begin(),
                             changes.entries.end());
  return transaction;
}

}  // namespace sluice::agent
