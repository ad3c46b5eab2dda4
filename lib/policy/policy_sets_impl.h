// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

#include "lib/policy/policy_sets.h"

// What the parts of PolicySets have in common.
namespace sluice::policy {

inline constexpr std::array kDirections{Direction::kIngress,
                                        Direction::kEgress};

constexpr std::size_t index_of(Direction direction) {
  return static_cast<std::size_t>(direction);
}

template <typename Map, typename Key, typename Value>
void erase_from(Map& map, const Key& key, const Value& value) {
  const auto it = map.find(key);
  if (it != map.end() && it->second.erase(value) != 0 && it->second.empty()) {
    map.erase(it);
  }
}

}  // namespace sluice::policy
