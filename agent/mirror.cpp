// SPDX-License-Identifier: Apache-2.0
#include "agent/mirror.h"

#include <algorithm>

namespace sluice::agent {
namespace {

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

template <typename Prefix>
Prefix trie_key(const IpPrefix& prefix) {
  Prefix key{};
  key.prefixlen = static_cast<std::uint32_t>(prefix.length);
  std::copy_n(prefix.address.bytes.begin(), sizeof(key.addr), key.addr);
  return key;
}

template <typename Prefix>
IpPrefix from_trie_key(const std::byte* bytes, bool v6) {
  const auto key = load<Prefix>(bytes);
  IpPrefix prefix;
  prefix.length = static_cast<int>(key.prefixlen);
  prefix.address.v6 = v6;
  std::copy_n(key.addr, sizeof(key.addr), prefix.address.bytes.begin());
  return prefix;
}

template <typename Address>
IpPrefix from_hash_key(const std::byte* bytes, bool v6) {
  IpPrefix prefix;
  prefix.address.v6 = v6;
  prefix.length = prefix.address.bits();
  std::memcpy(prefix.address.bytes.data(), bytes, sizeof(Address));
  return prefix;
}

}  // namespace

std::size_t PolicyKeyHash::operator()(
    const sluice_policy_key& key) const noexcept {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  std::memcpy(&low, &key, sizeof(low));
  std::memcpy(&high, reinterpret_cast<const std::byte*>(&key) + sizeof(low),
              sizeof(high));
  std::uint64_t mixed = (low ^ (high * 0x9e3779b97f4a7c15ULL)) + high;
  mixed ^= mixed >> 32;
  mixed *= 0xd6e8feb86659fd93ULL;
  return mixed ^ (mixed >> 32);
}

Map peer_map(const IpPrefix& prefix) {
  if (prefix.length == prefix.address.bits()) {
    return prefix.address.v6 ? Map::kPeers6 : Map::kPeers4;
  }
  return prefix.address.v6 ? Map::kPrefixes6 : Map::kPrefixes4;
}

void push_peer_key(Batch& batch, const IpPrefix& prefix) {
  switch (peer_map(prefix)) {
    case Map::kPeers4:
      batch.push(load<__be32>(
          reinterpret_cast<const std::byte*>(prefix.address.bytes.data())));
      break;
    case Map::kPeers6:
      batch.push(prefix.address.bytes);
      break;
    case Map::kPrefixes4:
      batch.push(trie_key<sluice_prefix4>(prefix));
      break;
    default:
      batch.push(trie_key<sluice_prefix6>(prefix));
      break;
  }
}

void push_peer(Batch& batch, const IpPrefix& prefix,
               const std::array<std::uint32_t, 2>& classes) {
  sluice_peer peer{};
  peer.cidr_id[0] = classes[0];
  peer.cidr_id[1] = classes[1];
  sluice_prefix_value value{};
  value.cidr_id[0] = classes[0];
  value.cidr_id[1] = classes[1];
  switch (peer_map(prefix)) {
    case Map::kPeers4:
      batch.push(load<__be32>(reinterpret_cast<const std::byte*>(
                     prefix.address.bytes.data())),
                 peer);
      break;
    case Map::kPeers6:
      batch.push(prefix.address.bytes, peer);
      break;
    case Map::kPrefixes4:
      batch.push(trie_key<sluice_prefix4>(prefix), value);
      break;
    default:
      batch.push(trie_key<sluice_prefix6>(prefix), value);
      break;
  }
}

IpPrefix peer_prefix(Map map, const std::byte* key) {
  switch (map) {
    case Map::kPeers4:
      return from_hash_key<__be32>(key, false);
    case Map::kPeers6:
      return from_hash_key<EndpointAddress6>(key, true);
    case Map::kPrefixes4:
      return from_trie_key<sluice_prefix4>(key, false);
    default:
      return from_trie_key<sluice_prefix6>(key, true);
  }
}

std::array<std::uint32_t, 2> peer_classes(Map map, const std::byte* value) {
  if (map == Map::kPeers4 || map == Map::kPeers6) {
    const auto peer = load<sluice_peer>(value);
    return {peer.cidr_id[0], peer.cidr_id[1]};
  }
  const auto prefix = load<sluice_prefix_value>(value);
  return {prefix.cidr_id[0], prefix.cidr_id[1]};
}

std::optional<std::uint32_t> PeerTable::find(const IpPrefix& prefix) const {
  const auto it = classes_.find(prefix);
  if (it == classes_.end()) {
    return std::nullopt;
  }
  return it->second;
}

void PeerTable::set(const IpPrefix& prefix,
                    std::optional<std::uint32_t> cidr_id) {
  const auto it = classes_.find(prefix);
  auto& length = lengths_[prefix.address.v6 ? 1 : 0][prefix.length];
  if (it != classes_.end()) {
    const auto references = references_.find(it->second);
    if (--references->second == 0) {
      references_.erase(references);
    }
    --length;
  }
  if (!cidr_id) {
    if (it != classes_.end()) {
      classes_.erase(it);
    }
    return;
  }
  ++references_[*cidr_id];
  ++length;
  if (it != classes_.end()) {
    it->second = *cidr_id;
  } else {
    classes_.emplace(prefix, *cidr_id);
  }
}

std::size_t PeerTable::references(std::uint32_t cidr_id) const {
  const auto it = references_.find(cidr_id);
  return it == references_.end() ? 0 : it->second;
}

std::size_t PeerTable::count(Map map) const {
  const bool v6 = map == Map::kPeers6 || map == Map::kPrefixes6;
  const auto& lengths = lengths_[v6 ? 1 : 0];
  const int bits = v6 ? 128 : 32;
  if (map == Map::kPeers4 || map == Map::kPeers6) {
    return lengths[bits];
  }
  std::size_t sum = 0;
  for (int length = 0; length < bits; ++length) {
    sum += lengths[length];
  }
  return sum;
}

void PeerView::change(const IpPrefix& prefix,
                      std::optional<std::uint32_t> cidr_id) {
  if (prefix.length == prefix.address.bits()) {
    return;
  }
  changes_[prefix] = cidr_id;
  lengths_[prefix.address.v6 ? 1 : 0][prefix.length] = true;
}

std::uint32_t PeerView::cover(const IpPrefix& prefix) const {
  const bool v6 = prefix.address.v6;
  for (int length = prefix.length - 1; length >= 0; --length) {
    const bool changed = lengths_[v6 ? 1 : 0][length];
    if (!changed && !table_->has_length(v6, length)) {
      continue;
    }
    const auto around = make_prefix(prefix.address, length);
    if (changed) {
      const auto it = changes_.find(around);
      if (it != changes_.end()) {
        if (const auto& cidr_id = it->second) {
          return *cidr_id;
        }
        continue;
      }
    }
    if (const auto cidr_id = table_->find(around)) {
      return *cidr_id;
    }
  }
  return SLUICE_CIDR_ANY;
}

std::uint32_t EntryCounts::flags() const {
  std::uint32_t flags = 0;
  for (int direction = 0; direction < 2; ++direction) {
    if (counts_[direction][1] > 0) {
      flags |= SLUICE_EP_CLASS(direction);
    }
    if (counts_[direction][0] > 0) {
      flags |= SLUICE_EP_ANY(direction);
    }
  }
  return flags;
}

std::size_t Mirror::count(Map map) const {
  switch (map) {
    case Map::kPeers4:
    case Map::kPeers6:
    case Map::kPrefixes4:
    case Map::kPrefixes6:
      return peers.count(map);
    case Map::kPolicy:
      return entries + standbys;
    case Map::kEndpoints:
      return records.size();
    case Map::kEndpointOverflow:
      return overflow.size();
    default:
      return 0;
  }
}

}  // namespace sluice::agent
