// SPDX-License-Identifier: Apache-2.0
#include "sluice/state.h"

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>

namespace sluice {
namespace {

// All fields in their order. Two numbers are compared faster than six.
std::pair<std::uint64_t, std::uint64_t> fields(const sluice_policy_key& key) {
  return {(std::uint64_t{key.policy_id} << 32) | key.cidr_id,
          (std::uint64_t{key.direction} << 56) |
              (std::uint64_t{key.protocol} << 48) |
              (std::uint64_t{__builtin_bswap16(key.port)} << 32) |
              key.prefixlen};
}

// Walks two sorted ranges together and calls `changed(key, value or null)` for
// elements that are only in `to` or differ there, and for elements that are
// only in `from`.
template <typename Range, typename KeyOf, typename Less, typename Changed>
void diff_sorted(const Range& from, const Range& to, KeyOf key_of, Less less,
                 Changed changed) {
  auto old_it = from.begin();
  auto new_it = to.begin();
  while (old_it != from.end() || new_it != to.end()) {
    if (new_it == to.end() ||
        (old_it != from.end() && less(key_of(*old_it), key_of(*new_it)))) {
      changed(*old_it, false);
      ++old_it;
      continue;
    }
    const bool same_key =
        old_it != from.end() && !less(key_of(*new_it), key_of(*old_it));
    if (!same_key || !(*old_it == *new_it)) {
      changed(*new_it, true);
    }
    ++new_it;
    if (same_key) {
      ++old_it;
    }
  }
}

template <typename T, typename Change, typename KeyOf, typename ChangeKeyOf,
          typename ValueOf, typename Less>
void apply_sorted(std::vector<T>& range, const std::vector<Change>& changes,
                  KeyOf key_of, ChangeKeyOf change_key_of, ValueOf value_of,
                  Less less) {
  if (changes.empty()) {
    return;
  }
  std::vector<const Change*> order;
  order.reserve(changes.size());
  for (const auto& change : changes) {
    order.push_back(&change);
  }
  std::stable_sort(order.begin(), order.end(), [&](auto* a, auto* b) {
    return less(change_key_of(*a), change_key_of(*b));
  });
  std::vector<T> merged;
  merged.reserve(range.size() + changes.size());
  auto it = range.begin();
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto& change = *order[i];
    if (i + 1 < order.size() &&
        !less(change_key_of(change), change_key_of(*order[i + 1]))) {
      continue;  // a later change of the same key counts
    }
    while (it != range.end() && less(key_of(*it), change_key_of(change))) {
      merged.push_back(std::move(*it++));
    }
    if (it != range.end() && !less(change_key_of(change), key_of(*it))) {
      ++it;
    }
    if (auto value = value_of(change)) {
      merged.push_back(std::move(*value));
    }
  }
  std::move(it, range.end(), std::back_inserter(merged));
  range = std::move(merged);
}

}  // namespace

bool PolicyKeyLess::operator()(const sluice_policy_key& a,
                               const sluice_policy_key& b) const {
  return fields(a) < fields(b);
}

bool equal(const sluice_policy_key& a, const sluice_policy_key& b) {
  return fields(a) == fields(b);
}

bool equal(const sluice_policy_value& a, const sluice_policy_value& b) {
  return std::tuple(a.verdict, a.flags, a.jump, a.rule) ==
         std::tuple(b.verdict, b.flags, b.jump, b.rule);
}

Transaction diff(const State& from, const State& to) {
  Transaction result;
  diff_sorted(
      from.peers, to.peers, [](const auto& e) { return e.prefix; },
      std::less<>{},
      [&](const PeerEntry& e, bool present) {
        result.peers.push_back(
            {e.prefix, present ? std::optional(e.cidr_id) : std::nullopt});
      });
  diff_sorted(
      from.entries, to.entries, [](const auto& e) { return e.key; },
      PolicyKeyLess{},
      [&](const PolicyEntry& e, bool present) {
        result.entries.push_back(
            {e.key, present ? std::optional(e.value) : std::nullopt});
      });
  diff_sorted(
      from.endpoints, to.endpoints, [](const auto& e) { return e.name; },
      std::less<>{},
      [&](const EndpointEntry& e, bool present) {
        result.endpoints.push_back(
            {e.name, present ? std::optional(e) : std::nullopt});
      });
  const auto id_of = [](const auto& e) { return e.id; };
  diff_sorted(from.rules, to.rules, id_of, std::less<>{},
              [&](const RuleInfo& e, bool present) {
                result.rules.push_back(
                    {e.id, present ? std::optional(e) : std::nullopt});
              });
  diff_sorted(from.sets, to.sets, id_of, std::less<>{},
              [&](const PolicySetInfo& e, bool present) {
                result.sets.push_back(
                    {e.id, present ? std::optional(e) : std::nullopt});
              });
  diff_sorted(from.names, to.names, id_of, std::less<>{},
              [&](const NameSelector& e, bool present) {
                result.names.push_back(
                    {e.id, present ? std::optional(e) : std::nullopt});
              });
  diff_sorted(from.resolvers, to.resolvers, std::identity{}, std::less<>{},
              [&](const Resolver& e, bool present) {
                result.resolvers.push_back({e, present});
              });
  return result;
}

void apply(State& state, const Transaction& transaction) {
  apply_sorted(
      state.peers, transaction.peers, [](const auto& e) { return e.prefix; },
      [](const auto& c) { return c.prefix; },
      [](const auto& c) -> std::optional<PeerEntry> {
        if (!c.cidr_id) {
          return std::nullopt;
        }
        return PeerEntry{c.prefix, *c.cidr_id};
      },
      std::less<>{});
  apply_sorted(
      state.entries, transaction.entries, [](const auto& e) { return e.key; },
      [](const auto& c) { return c.key; },
      [](const auto& c) -> std::optional<PolicyEntry> {
        if (!c.value) {
          return std::nullopt;
        }
        return PolicyEntry{c.key, *c.value};
      },
      PolicyKeyLess{});
  const auto name_of = [](const auto& e) { return e.name; };
  const auto id_of = [](const auto& e) { return e.id; };
  const auto value_of = [](const auto& c) { return c.value; };
  apply_sorted(state.endpoints, transaction.endpoints, name_of, name_of,
               value_of, std::less<>{});
  apply_sorted(state.rules, transaction.rules, id_of, id_of, value_of,
               std::less<>{});
  apply_sorted(state.sets, transaction.sets, id_of, id_of, value_of,
               std::less<>{});
  apply_sorted(state.names, transaction.names, id_of, id_of, value_of,
               std::less<>{});
  apply_sorted(
      state.resolvers, transaction.resolvers, std::identity{},
      [](const auto& c) { return c.resolver; },
      [](const auto& c) {
        return c.present ? std::optional(c.resolver) : std::nullopt;
      },
      std::less<>{});
}

}  // namespace sluice
