// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "agent/maps.h"
#include "lib/base/ip.h"
#include "sluice/state.h"

namespace sluice::agent {

struct PolicyKeyHash {
  std::size_t operator()(const sluice_policy_key& key) const noexcept;
};
struct PolicyKeyEqual {
  bool operator()(const sluice_policy_key& a,
                  const sluice_policy_key& b) const noexcept {
    return equal(a, b);
  }
};
// `policy_id` of the keys is the set, without the generation bit.
using EntryMap = std::unordered_map<sluice_policy_key, sluice_policy_value,
                                    PolicyKeyHash, PolicyKeyEqual>;

// Returns the map for a prefix: a hash if it is a single address.
Map peer_map(const IpPrefix& prefix);
// Adds the prefix to `batch` as a key of its map.
void push_peer_key(Batch& batch, const IpPrefix& prefix);
// As above, with the class of each generation.
void push_peer(Batch& batch, const IpPrefix& prefix,
               const std::array<std::uint32_t, 2>& classes);
// Reads back what push_peer() wrote.
IpPrefix peer_prefix(Map map, const std::byte* key);
std::array<std::uint32_t, 2> peer_classes(Map map, const std::byte* value);

// Addresses and prefixes with their class.
class PeerTable {
 public:
  [[nodiscard]] std::optional<std::uint32_t> find(const IpPrefix& prefix) const;
  // Absent value: removed.
  void set(const IpPrefix& prefix, std::optional<std::uint32_t> cidr_id);
  void reserve(std::size_t count) { classes_.reserve(count); }

  // Number of addresses and prefixes with the class.
  [[nodiscard]] std::size_t references(std::uint32_t cidr_id) const;
  // True if there is a prefix of this length.
  [[nodiscard]] bool has_length(bool v6, int length) const {
    return lengths_[v6 ? 1 : 0][length] != 0;
  }
  [[nodiscard]] std::size_t count(Map map) const;
  [[nodiscard]] const std::unordered_map<IpPrefix, std::uint32_t>& all() const {
    return classes_;
  }

 private:
  std::unordered_map<IpPrefix, std::uint32_t> classes_;
  std::unordered_map<std::uint32_t, std::size_t> references_;
  std::array<std::array<std::size_t, 129>, 2> lengths_{};
};

// A PeerTable with pending changes.
class PeerView {
 public:
  explicit PeerView(const PeerTable& table) : table_(&table) {}
  void change(const IpPrefix& prefix, std::optional<std::uint32_t> cidr_id);
  // Returns the class of the longest prefix that encloses this one, without
  // itself; 0 if there is none.
  [[nodiscard]] std::uint32_t cover(const IpPrefix& prefix) const;

 private:
  const PeerTable* table_;
  // Single addresses enclose nothing and are not stored here.
  std::unordered_map<IpPrefix, std::optional<std::uint32_t>> changes_;
  std::array<std::array<bool, 129>, 2> lengths_{};
};

// The direction of the packets that an entry is for. DNS questions leave the
// pod.
constexpr unsigned direction_of(const sluice_policy_key& key) {
  return key.direction == SLUICE_INGRESS ? 0 : 1;
}

// Number of entries by direction and by whether they name a class; the flags of
// an endpoint's record follow from it.
class EntryCounts {
 public:
  void add(const sluice_policy_key& key, int number) {
    counts_[direction_of(key)][key.cidr_id != 0 ? 1 : 0] += number;
  }
  // SLUICE_EP_CLASS_* and SLUICE_EP_ANY_*.
  [[nodiscard]] std::uint32_t flags() const;

 private:
  std::array<std::array<std::int64_t, 2>, 2> counts_{};
};

// A complete earlier generation of a policy set, which the kernel still holds
// under the generation bit that is not in force. No packet looks it up.
struct Standby {
  // Where it differs from the entries in force: one per key, with the value
  // that it has there.
  std::vector<Transaction::EntryChange> differences;
  std::size_t entries = 0;
  bool used = true;  // since the last call of Applier::drop_unused_standbys()
};

struct PolicySet {
  unsigned bit = 0;  // the generation bit that is in force
  EntryMap entries;
  EntryCounts counts;
  std::size_t records = 0;  // in force that name this set
  std::optional<Standby> standby;
};

// An endpoint's record in force.
struct EndpointRecord {
  std::uint32_t index = 0;  // in the array
  sluice_endpoint_policy policy{};
  EndpointFacts facts;
};

inline bool same_policy(const sluice_endpoint_policy& a,
                        const sluice_endpoint_policy& b) {
  return a.policy_id == b.policy_id && a.flags == b.flags;
}
// A record keeps the adoption time with which it was created.
inline bool same_facts(const EndpointRecord& a, const EndpointRecord& b) {
  return a.facts.ipv4 == b.facts.ipv4 && a.facts.ipv6 == b.facts.ipv6 &&
         a.facts.on_link6 == b.facts.on_link6;
}

// What the kernel holds in the generation in force, and what stands by.
struct Mirror {
  PeerTable peers;
  std::unordered_map<std::uint32_t, PolicySet> sets;
  std::size_t entries = 0;   // in force
  std::size_t standbys = 0;  // entries that stand by
  std::unordered_map<std::uint32_t, EndpointRecord> records;  // by ifindex
  std::unordered_set<std::uint32_t> overflow;  // indexes in use beyond direct

  // Elements of the map; of kEndpoints, records in use.
  [[nodiscard]] std::size_t count(Map map) const;
};

}  // namespace sluice::agent
