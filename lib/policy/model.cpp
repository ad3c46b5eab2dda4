// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/model.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include <arpa/inet.h>

namespace sluice::policy {
namespace {

struct Place {
  std::uint32_t set = 0;
  std::uint32_t cidr_id = 0;
  std::uint32_t l4 = 0;  // prefix length, direction, protocol
  std::uint16_t port = 0;
  bool operator==(const Place&) const = default;
};

struct PlaceHash {
  std::size_t operator()(const Place& place) const {
    std::uint64_t mixed =
        (std::uint64_t{place.set} << 32 | place.cidr_id) ^
        ((std::uint64_t{place.l4} << 16 | place.port) * 0x9e3779b97f4a7c15ULL);
    mixed ^= mixed >> 29;
    mixed *= 0xbf58476d1ce4e5b9ULL;
    return mixed ^ (mixed >> 32);
  }
};

// Masks the key to its first `prefix length` bits.
Place place_of(std::uint32_t set, std::uint32_t cidr_id, std::uint8_t direction,
               std::uint8_t protocol, std::uint16_t port,
               std::uint32_t prefixlen) {
  if (prefixlen <= SLUICE_PREFIX_ANY) {
    protocol = 0;
  }
  const std::uint32_t port_bits = prefixlen > SLUICE_PREFIX_PROTOCOL
                                      ? prefixlen - SLUICE_PREFIX_PROTOCOL
                                      : 0;
  const auto mask = static_cast<std::uint16_t>(0xffff0000U >> port_bits);
  return {.set = set,
          .cidr_id = cidr_id,
          .l4 = prefixlen << 16 | std::uint32_t{direction} << 8 | protocol,
          .port = static_cast<std::uint16_t>(port & mask)};
}

}  // namespace

struct Model::Impl {
  std::unordered_map<IpPrefix, std::uint32_t> peers;
  std::array<std::array<bool, 129>, 2> lengths{};
  std::unordered_map<Place, PolicyEntry, PlaceHash> entries;
  std::map<std::string, EndpointEntry, std::less<>> endpoints;
  std::unordered_map<std::uint32_t, RuleInfo> rules;

  [[nodiscard]] const PolicyEntry* longest(std::uint32_t set,
                                           std::uint32_t cidr_id,
                                           std::uint8_t direction,
                                           std::uint8_t protocol,
                                           std::uint16_t port) const {
    for (std::uint32_t length = SLUICE_PREFIX_PORT; length >= SLUICE_PREFIX_ANY;
         --length) {
      if (length < SLUICE_PREFIX_PROTOCOL && length > SLUICE_PREFIX_ANY) {
        continue;
      }
      const auto it = entries.find(
          place_of(set, cidr_id, direction, protocol, port, length));
      if (it != entries.end()) {
        return &it->second;
      }
    }
    return nullptr;
  }
};

Model::Model(const State& state) : impl_(std::make_unique<Impl>()) {
  for (const auto& peer : state.peers) {
    impl_->peers[peer.prefix] = peer.cidr_id;
    impl_->lengths[peer.prefix.address.v6 ? 1 : 0][peer.prefix.length] = true;
  }
  for (const auto& entry : state.entries) {
    const auto& key = entry.key;
    impl_->entries[place_of(key.policy_id, key.cidr_id, key.direction,
                            key.protocol, ntohs(key.port), key.prefixlen)] =
        entry;
  }
  for (const auto& endpoint : state.endpoints) {
    impl_->endpoints[endpoint.name] = endpoint;
  }
  for (const auto& rule : state.rules) {
    impl_->rules[rule.id] = rule;
  }
}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

const PolicyEntry* Model::may_ask(const PolicyEntry& server,
                                  std::span<const std::uint32_t> names) const {
  for (const std::uint32_t name : names) {
    const auto* entry = impl_->longest(server.key.policy_id, name,
                                       SLUICE_QUESTION, server.value.flags, 0);
    if (entry != nullptr) {
      return entry;
    }
  }
  return nullptr;
}

std::uint32_t Model::peer_class(const IpAddress& peer) const {
  const auto& lengths = impl_->lengths[peer.v6 ? 1 : 0];
  for (int length = peer.bits(); length >= 0; --length) {
    if (!lengths[length]) {
      continue;
    }
    const auto it = impl_->peers.find(make_prefix(peer, length));
    if (it != impl_->peers.end()) {
      return it->second;
    }
  }
  return SLUICE_CIDR_ANY;
}

Model::Verdict Model::lookup(const EndpointEntry& endpoint, Direction direction,
                             const IpAddress& peer, std::uint8_t protocol,
                             std::uint16_t port,
                             std::span<const std::uint32_t> names) const {
  Verdict verdict;
  if (std::ranges::find(endpoint.ips, peer) != endpoint.ips.end()) {
    verdict.allowed = true;
    verdict.reason = SLUICE_REASON_SELF;
    verdict.rule = SLUICE_RULE_SELF;
    return verdict;
  }
  const auto side = static_cast<std::uint8_t>(direction);
  verdict.cidr_id = peer_class(peer);
  const PolicyEntry* entry = nullptr;
  if (verdict.cidr_id != SLUICE_CIDR_ANY) {
    entry = impl_->longest(endpoint.policy_set, verdict.cidr_id, side, protocol,
                           port);
  }
  if (entry == nullptr) {
    entry = impl_->longest(endpoint.policy_set, SLUICE_CIDR_ANY, side, protocol,
                           port);
  }
  if (entry != nullptr && entry->value.verdict != SLUICE_VERDICT_ALLOW) {
    const auto levels = entry->value.flags;
    for (const std::uint32_t name : names) {
      const auto* allowing =
          impl_->longest(endpoint.policy_set, name, side, protocol, port);
      if (allowing != nullptr && (allowing->value.flags & levels) != 0) {
        entry = allowing;
        break;
      }
    }
  }
  if (entry != nullptr) {
    verdict.entry = *entry;
    verdict.allowed = entry->value.verdict == SLUICE_VERDICT_ALLOW;
    verdict.reason = reason_of_entry(entry->value);
    verdict.rule = entry->value.rule;
    return verdict;
  }
  if (!endpoint.isolated[side]) {
    verdict.allowed = true;
    verdict.reason = SLUICE_REASON_DEFAULT_ALLOW;
    verdict.rule = SLUICE_RULE_DEFAULT_ALLOW;
  } else if (direction == Direction::kIngress &&
             (verdict.cidr_id & SLUICE_CIDR_LOCAL_NODE) != 0) {
    verdict.allowed = true;
    verdict.reason = SLUICE_REASON_LOCAL_NODE;
    verdict.rule = SLUICE_RULE_LOCAL_NODE;
  } else {
    verdict.reason = SLUICE_REASON_DEFAULT_DENY;
    verdict.rule = direction == Direction::kIngress
                       ? SLUICE_RULE_DEFAULT_DENY_INGRESS
                       : SLUICE_RULE_DEFAULT_DENY_EGRESS;
  }
  return verdict;
}

const EndpointEntry* Model::endpoint(std::string_view name) const {
  const auto it = impl_->endpoints.find(name);
  return it == impl_->endpoints.end() ? nullptr : &it->second;
}

const RuleInfo* Model::rule(std::uint32_t id) const {
  const auto it = impl_->rules.find(id);
  return it == impl_->rules.end() ? nullptr : &it->second;
}

}  // namespace sluice::policy
