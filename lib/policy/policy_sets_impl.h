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

// The list of names that an egress entry of a peer class names; 0: none with
// members.
inline std::uint8_t list_of(const L4Entry& entry) {
  const auto list = entry.value.flags;
  return entry.value.verdict == SLUICE_VERDICT_ALLOW && list < kDnsNone
             ? list
             : std::uint8_t{0};
}

// The policy-map entry of a list's member.
inline sluice_policy_key question_key(std::uint32_t set,
                                      const Question& question) {
  sluice_policy_key key{};
  key.prefixlen = SLUICE_PREFIX_PROTOCOL;
  key.policy_id = set;
  key.cidr_id = question.name;
  key.direction = SLUICE_QUESTION;
  key.protocol = question.list;
  return key;
}

inline sluice_policy_value value_of(const Question& question) {
  sluice_policy_value value{};
  value.verdict = SLUICE_VERDICT_ALLOW;
  value.rule = question.rule;
  return value;
}

template <typename Map, typename Key, typename Value>
void erase_from(Map& map, const Key& key, const Value& value) {
  const auto it = map.find(key);
  if (it != map.end() && it->second.erase(value) != 0 && it->second.empty()) {
    map.erase(it);
  }
}

}  // namespace sluice::policy
