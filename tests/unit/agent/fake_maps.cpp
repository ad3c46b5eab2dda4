// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/agent/fake_maps.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <gtest/gtest.h>

namespace sluice::agent::test {
namespace {

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

}  // namespace

bool same_record(const sluice_endpoint& a, const sluice_endpoint& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

Contents read_contents(const Maps& maps) {
  Contents contents;
  contents.epoch = maps.epoch();
  for (const Map map :
       {Map::kPeers4, Map::kPeers6, Map::kPrefixes4, Map::kPrefixes6}) {
    EXPECT_TRUE(
        maps.read(map, [&](const std::byte* key, const std::byte* value) {
          contents.peers[peer_prefix(map, key)] = peer_classes(map, value);
        }));
  }
  EXPECT_TRUE(maps.read(Map::kPolicy,
                        [&](const std::byte* key, const std::byte* value) {
                          contents.policy[load<sluice_policy_key>(key)] =
                              load<sluice_policy_value>(value);
                        }));
  EXPECT_TRUE(maps.read(Map::kEndpointOverflow, [&](const std::byte* key,
                                                    const std::byte* value) {
    contents.overflow[load<std::uint32_t>(key)] = load<std::uint32_t>(value);
  }));
  for (std::uint32_t index = 0; index < SLUICE_ENDPOINTS_MAX; ++index) {
    const auto record = maps.endpoint(index);
    if (!same_record(record, sluice_endpoint{})) {
      contents.records[index] = record;
    }
  }
  return contents;
}

void FakeMaps::written() const {
  if (after_write) {
    after_write();
  }
}

std::size_t FakeMaps::size(Map map) const {
  if (map == Map::kPolicy) {
    return contents_.policy.size();
  }
  if (map == Map::kEndpointOverflow) {
    return contents_.overflow.size();
  }
  return static_cast<std::size_t>(std::ranges::count_if(
      contents_.peers,
      [&](const auto& e) { return peer_map(e.first) == map; }));
}

bool FakeMaps::contains(Map map, const std::byte* key) const {
  if (map == Map::kPolicy) {
    return contents_.policy.contains(load<sluice_policy_key>(key));
  }
  if (map == Map::kEndpointOverflow) {
    return contents_.overflow.contains(load<std::uint32_t>(key));
  }
  return contents_.peers.contains(peer_prefix(map, key));
}

std::uint32_t FakeMaps::capacity(Map map) const {
  const auto it = options_.capacities.find(map);
  return it == options_.capacities.end() ? 1000 : it->second;
}

int FakeMaps::update_one(Map map, const std::byte* key,
                         const std::byte* value) {
  if (fail_at && writes++ == *fail_at) {
    return error;
  }
  const bool trie =
      map == Map::kPolicy || map == Map::kPrefixes4 || map == Map::kPrefixes6;
  if (!contains(map, key)) {
    if (size(map) >= capacity(map)) {
      return trie ? ENOSPC : E2BIG;
    }
    reused_early = reused_early || (!trie && erased_[map]);
  }
  if (map == Map::kPolicy) {
    contents_.policy[load<sluice_policy_key>(key)] =
        load<sluice_policy_value>(value);
  } else if (map == Map::kEndpointOverflow) {
    contents_.overflow[load<std::uint32_t>(key)] = load<std::uint32_t>(value);
  } else {
    contents_.peers[peer_prefix(map, key)] = peer_classes(map, value);
  }
  return 0;
}

Maps::Progress FakeMaps::update(Map map, const Batch& elements) {
  for (std::size_t i = 0; i < elements.size(); ++i) {
    const int failed =
        update_one(map, elements.keys() + (i * describe(map).key_size),
                   elements.values() + (i * describe(map).value_size));
    if (failed != 0) {
      return {.done = i, .error = failed};
    }
    written();
  }
  return {.done = elements.size(), .error = 0};
}

Maps::Progress FakeMaps::erase(Map map, const Batch& keys) {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const std::byte* key = keys.keys() + (i * describe(map).key_size);
    if (fail_at && writes++ == *fail_at) {
      return {.done = i, .error = error};
    }
    erased_[map] = true;
    if (map == Map::kPolicy) {
      contents_.policy.erase(load<sluice_policy_key>(key));
    } else if (map == Map::kEndpointOverflow) {
      contents_.overflow.erase(load<std::uint32_t>(key));
    } else {
      contents_.peers.erase(peer_prefix(map, key));
    }
    written();
  }
  return {.done = keys.size(), .error = 0};
}

Result<void> FakeMaps::read(Map map, const Visitor& visit) const {
  for (const auto& [prefix, classes] : contents_.peers) {
    if (peer_map(prefix) == map) {
      Batch one;
      push_peer(one, prefix, classes);
      visit(one.keys(), one.values());
    }
  }
  if (map == Map::kPolicy) {
    for (const auto& [key, value] : contents_.policy) {
      visit(reinterpret_cast<const std::byte*>(&key),
            reinterpret_cast<const std::byte*>(&value));
    }
  }
  if (map == Map::kEndpointOverflow) {
    for (const auto& [key, value] : contents_.overflow) {
      visit(reinterpret_cast<const std::byte*>(&key),
            reinterpret_cast<const std::byte*>(&value));
    }
  }
  return {};
}

sluice_endpoint FakeMaps::endpoint(std::uint32_t index) const {
  const auto it = contents_.records.find(index);
  return it == contents_.records.end() ? sluice_endpoint{} : it->second;
}

void FakeMaps::forget_empty(std::uint32_t index) {
  const auto it = contents_.records.find(index);
  if (same_record(it->second, sluice_endpoint{})) {
    contents_.records.erase(it);
  }
}

void FakeMaps::store_policy(std::uint32_t index, unsigned slot,
                            sluice_endpoint_policy policy) {
  contents_.records[index].gen[slot] = policy;
  forget_empty(index);
  written();
}

void FakeMaps::store_facts(std::uint32_t index, const EndpointFacts& facts) {
  auto& record = contents_.records[index];
  record.ipv4 = facts.ipv4;
  std::ranges::copy(facts.ipv6, record.ipv6);
  record.on_link6 = facts.on_link6;
  record.adopt_until = facts.adopt_until;
  forget_empty(index);
  written();
}

void FakeMaps::store_epoch(std::uint32_t epoch) {
  contents_.epoch = epoch;
  ++steps;
  written();
}

Result<void> FakeMaps::grace_period() {
  ++graces;
  erased_.clear();
  if (after_grace) {
    after_grace();
  }
  return {};
}

}  // namespace sluice::agent::test
