// SPDX-License-Identifier: Apache-2.0
#include "agent/takeover.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

namespace sluice::agent {
namespace {

class Reader {
 public:
  explicit Reader(const Maps& maps) : maps_(maps), slot_(maps.epoch() & 1) {}

  Result<Takeover> run() {
    auto result = read_records();
    if (result) {
      result = read_peers();
    }
    if (result) {
      result = read_policy();
    }
    if (!result) {
      return std::unexpected(result.error());
    }
    // The transaction may have been interrupted right after its epoch step.
    result_.cleanup.grace_period_first = !result_.cleanup.empty();
    return std::move(result_);
  }

 private:
  Result<void> read_records() {
    std::unordered_map<std::uint32_t, std::uint32_t> overflow;  // by index
    auto read = maps_.read(Map::kEndpointOverflow, [&](const std::byte* key,
                                                       const std::byte* value) {
      std::uint32_t ifindex = 0;
      std::uint32_t index = 0;
      std::memcpy(&ifindex, key, sizeof(ifindex));
      std::memcpy(&index, value, sizeof(index));
      const bool in_use =
          index >= SLUICE_ENDPOINTS_DIRECT && index < SLUICE_ENDPOINTS_MAX &&
          (maps_.endpoint(index).gen[slot_].flags & SLUICE_EP_MANAGED) != 0;
      if (!in_use || !overflow.emplace(index, ifindex).second) {
        of(result_.cleanup.erases, Map::kEndpointOverflow).push(ifindex);
      }
    });
    if (!read) {
      return read;
    }
    for (std::uint32_t index = 0; index < SLUICE_ENDPOINTS_MAX; ++index) {
      std::uint32_t ifindex = index;
      if (index >= SLUICE_ENDPOINTS_DIRECT) {
        const auto it = overflow.find(index);
        ifindex = it == overflow.end() ? 0 : it->second;
      }
      read_record(index, ifindex);
    }
    return {};
  }

  // `ifindex` 0: no interface refers to this record.
  void read_record(std::uint32_t index, std::uint32_t ifindex) {
    const auto record = maps_.endpoint(index);
    const auto& now = record.gen[slot_];
    const auto& other = record.gen[slot_ ^ 1];
    const bool in_use = ifindex != 0 && (now.flags & SLUICE_EP_MANAGED) != 0;
    EndpointRecord found{.index = index, .policy = now};
    found.facts = {.ipv4 = record.ipv4,
                   .on_link6 = record.on_link6,
                   .adopt_until = record.adopt_until};
    std::ranges::copy(record.ipv6, found.facts.ipv6.begin());
    if (in_use) {
      if (!same_policy(now, other)) {
        store(index, slot_ ^ 1, now, false);
      }
      result_.mirror.records.emplace(ifindex, found);
      if (index >= SLUICE_ENDPOINTS_DIRECT) {
        result_.mirror.overflow.insert(index);
      }
      if (now.policy_id != 0) {
        auto& set = result_.mirror.sets[SLUICE_POLICY_SET(now.policy_id)];
        both_bits_ =
            both_bits_ || (set.records > 0 && set.bit != (now.policy_id & 1));
        set.bit = now.policy_id & 1;
        ++set.records;
      }
      return;
    }
    const sluice_endpoint_policy none{};
    if (!same_policy(now, none) || !same_policy(other, none) ||
        !same_facts(found, EndpointRecord{})) {
      store(index, slot_, none, true);
      store(index, slot_ ^ 1, none, true);
    }
  }

  void store(std::uint32_t index, unsigned slot, sluice_endpoint_policy policy,
             bool clear_facts) {
    result_.cleanup.stores.push_back({.index = index,
                                      .slot = slot,
                                      .policy = policy,
                                      .clear_facts = clear_facts});
  }

  Result<void> read_peers() {
    for (const Map map :
         {Map::kPeers4, Map::kPeers6, Map::kPrefixes4, Map::kPrefixes6}) {
      auto read =
          maps_.read(map, [&](const std::byte* key, const std::byte* value) {
            const auto prefix = peer_prefix(map, key);
            const auto classes = peer_classes(map, value);
            const std::uint32_t cidr_id = classes[slot_];
            result_.mirror.peers.set(prefix, cidr_id);
            if (classes[slot_ ^ 1] != cidr_id) {
              push_peer(of(result_.cleanup.updates, map), prefix,
                        {cidr_id, cidr_id});
            }
          });
      if (!read) {
        return read;
      }
    }
    return {};
  }

  Result<void> read_policy() {
    if (both_bits_) {
      // Our writes cannot lead to this in any order.
      return fail("endpoints use both generations of a policy set");
    }
    std::vector<PolicyEntry> entries;
    auto read = maps_.read(
        Map::kPolicy, [&](const std::byte* key, const std::byte* value) {
          PolicyEntry entry;
          std::memcpy(&entry.key, key, sizeof(entry.key));
          std::memcpy(&entry.value, value, sizeof(entry.value));
          entries.push_back(entry);
        });
    if (!read) {
      return read;
    }
    auto& sets = result_.mirror.sets;
    // For a set that no record names, the first generation found is kept. Which
    // one is right is unknown, and differences from the wanted state are
    // corrected in place.
    for (const auto& entry : entries) {
      const std::uint32_t id = entry.key.policy_id;
      sets.try_emplace(SLUICE_POLICY_SET(id), PolicySet{.bit = id & 1});
    }
    for (const auto& [kernel_key, value] : entries) {
      auto& set = sets[SLUICE_POLICY_SET(kernel_key.policy_id)];
      if (set.bit != (kernel_key.policy_id & 1)) {
        of(result_.cleanup.erases, Map::kPolicy).push(kernel_key);
        continue;
      }
      auto key = kernel_key;
      key.policy_id = SLUICE_POLICY_SET(key.policy_id);
      if (set.entries.emplace(key, value).second) {
        set.counts.add(key, 1);
        ++result_.mirror.entries;
      }
    }
    return {};
  }

  const Maps& maps_;
  unsigned slot_;
  bool both_bits_ = false;
  Takeover result_;
};

}  // namespace

Result<Takeover> take_over(const Maps& maps) {
  return Reader(maps).run();
}

}  // namespace sluice::agent
