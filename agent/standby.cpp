// SPDX-License-Identifier: Apache-2.0
#include "agent/standby.h"

#include <unordered_map>
#include <utility>

namespace sluice::agent {
namespace {

using Change = Transaction::EntryChange;
using Differences =
    std::unordered_map<sluice_policy_key, std::optional<sluice_policy_value>,
                       PolicyKeyHash, PolicyKeyEqual>;

std::optional<sluice_policy_value> value_in(const EntryMap& entries,
                                            const sluice_policy_key& key) {
  const auto found = entries.find(key);
  return found == entries.end() ? std::nullopt : std::optional(found->second);
}

Differences by_key(const std::vector<Change>& changes) {
  Differences result;
  result.reserve(changes.size());
  for (const auto& change : changes) {
    result.emplace(change.key, change.value);
  }
  return result;
}

bool same(const std::optional<sluice_policy_value>& a,
          const std::optional<sluice_policy_value>& b) {
  return a.has_value() == b.has_value() && (!a || equal(*a, *b));
}

}  // namespace

std::vector<StandbyEntry> standby_entries(const PolicySet& set,
                                          const std::vector<Change>& changes) {
  const auto held = by_key(set.standby->differences);
  const auto changed = by_key(changes);
  std::vector<StandbyEntry> result;
  const auto add = [&](StandbyEntry entry) {
    if (!same(entry.held, entry.wanted)) {
      result.push_back(entry);
    }
  };
  for (const auto& [key, value] : changes) {
    const auto differs = held.find(key);
    add({.key = key,
         .held = differs == held.end() ? value_in(set.entries, key)
                                       : differs->second,
         .wanted = value});
  }
  for (const auto& [key, value] : set.standby->differences) {
    if (!changed.contains(key)) {
      add({.key = key, .held = value, .wanted = value_in(set.entries, key)});
    }
  }
  return result;
}

Standby standby_of(const PolicySet& set, const std::vector<Change>& changes) {
  Standby result{.differences = {}, .entries = set.entries.size()};
  result.differences.reserve(changes.size());
  for (const auto& change : changes) {
    result.differences.push_back(
        {.key = change.key, .value = value_in(set.entries, change.key)});
  }
  return result;
}

Standby standby_beside(const PolicySet& set,
                       const std::vector<Change>& changes) {
  Standby result = *set.standby;
  const auto held = by_key(result.differences);
  for (const auto& change : changes) {
    if (!held.contains(change.key)) {
      result.differences.push_back(
          {.key = change.key, .value = value_in(set.entries, change.key)});
    }
  }
  return result;
}

void push_standby(std::uint32_t id, const PolicySet& set, Batch& keys) {
  const auto push = [&](sluice_policy_key key) {
    key.policy_id = SLUICE_POLICY_ID(id, set.bit ^ 1);
    keys.push(key);
  };
  for (const auto& [key, value] : set.entries) {
    push(key);
  }
  for (const auto& [key, value] : set.standby->differences) {
    if (value && !set.entries.contains(key)) {
      push(key);
    }
  }
}

void forget_standby(Mirror& mirror, std::uint32_t id, Batch& erases) {
  const auto found = mirror.sets.find(id);
  if (found == mirror.sets.end() || !found->second.standby) {
    return;
  }
  push_standby(id, found->second, erases);
  mirror.standbys -= found->second.standby->entries;
  found->second.standby.reset();
}

void forget_standbys(Mirror& mirror, Batch& erases, bool only_unused) {
  for (auto& [id, set] : mirror.sets) {
    if (set.standby && only_unused && std::exchange(set.standby->used, false)) {
      continue;
    }
    forget_standby(mirror, id, erases);
  }
}

}  // namespace sluice::agent
