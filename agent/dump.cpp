// SPDX-License-Identifier: Apache-2.0
#include "agent/dump.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string>
#include <tuple>
#include <utility>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <arpa/inet.h>

#include "agent/maps.h"

namespace sluice::agent {
namespace {

constexpr std::array<const char*, SLUICE_REASON_COUNT> kReasonTexts{
#define SLUICE_X(name, verdict, text) text,
    SLUICE_REASONS(SLUICE_X)
#undef SLUICE_X
};

constexpr std::array<bool, SLUICE_REASON_COUNT> kReasonAllows{
#define SLUICE_X(name, verdict, text) \
  SLUICE_VERDICT_##verdict == SLUICE_VERDICT_ALLOW,
    SLUICE_REASONS(SLUICE_X)
#undef SLUICE_X
};

template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

Result<void> visit(const Datapath& datapath, Map map,
                   const Maps::Visitor& visitor) {
  auto result =
      read_map(datapath.map_fd(map), describe(map).key_size,
               describe(map).value_size, datapath.capacity(map), visitor);
  if (!result) {
    return with_context("map " + std::string(map_name(map)), result.error());
  }
  return {};
}

template <typename Key>
ConntrackEntry entry_of_key(const std::byte* key_bytes) {
  const auto key = load<Key>(key_bytes);
  ConntrackEntry entry;
  entry.ifindex = key.ifindex;
  entry.v6 = sizeof(key.remote) == sizeof(EndpointAddress6);
  entry.remote.v6 = entry.v6;
  std::memcpy(entry.remote.bytes.data(), &key.remote, sizeof(key.remote));
  entry.local_port = ntohs(key.local_port);
  entry.remote_port = ntohs(key.remote_port);
  entry.protocol = key.protocol;
  return entry;
}

template <typename Key>
ConntrackEntry conntrack_entry(const std::byte* key, const std::byte* value) {
  auto entry = entry_of_key<Key>(key);
  entry.value = load<sluice_conntrack>(value);
  return entry;
}

auto conntrack_key(const ConntrackEntry& entry) {
  return std::tuple(entry.ifindex, entry.remote, entry.protocol,
                    entry.local_port, entry.remote_port);
}

// Adds the counts of the flow cache, which the programs add to conntrack only
// once a second. `entries` are sorted.
void add_counted(std::vector<ConntrackEntry>& entries,
                 const Datapath& datapath) {
  const std::span slots(datapath.flow_cache(), SLUICE_FLOW_CACHE_SLOTS);
  for (const sluice_flow_slot& slot : slots) {
    if ((slot.packets[0] | slot.packets[1]) == 0) {
      continue;
    }
    ConntrackEntry wanted;
    wanted.ifindex = slot.flow.ifindex;
    wanted.v6 = slot.flow.ip_version == 6;
    wanted.remote.v6 = wanted.v6;
    std::memcpy(wanted.remote.bytes.data(), slot.flow.remote,
                wanted.v6 ? sizeof(slot.flow.remote) : sizeof(__be32));
    wanted.local_port = ntohs(slot.flow.local_port);
    wanted.remote_port = ntohs(slot.flow.remote_port);
    wanted.protocol = slot.flow.protocol;
    const auto found = std::ranges::lower_bound(entries, conntrack_key(wanted),
                                                {}, conntrack_key);
    if (found == entries.end() ||
        conntrack_key(*found) != conntrack_key(wanted)) {
      continue;
    }
    for (const int direction : {SLUICE_INGRESS, SLUICE_EGRESS}) {
      found->value.packets[direction] += slot.packets[direction];
      found->value.bytes[direction] += slot.bytes[direction];
    }
  }
}

// Adds the original source to the masqueraded flows of a family. `entries` are
// sorted; origins without a flow are skipped.
template <typename Key>
Result<void> add_origins(std::vector<ConntrackEntry>& entries,
                         const Datapath& datapath, Map map) {
  return visit(
      datapath, map, [&](const std::byte* key, const std::byte* value) {
        const auto wanted = conntrack_key(entry_of_key<Key>(key));
        const auto found =
            std::ranges::lower_bound(entries, wanted, {}, conntrack_key);
        if (found == entries.end() || conntrack_key(*found) != wanted ||
            (found->value.state & SLUICE_CT_MASQUERADED) == 0) {
          return;
        }
        const auto origin = load<sluice_origin>(value);
        IpAddress address{.v6 = found->v6};
        std::memcpy(address.bytes.data(), origin.address,
                    found->v6 ? sizeof(origin.address) : sizeof(__be32));
        found->origin = address;
      });
}

// Sums one value per processor with `add`.
template <typename Value, typename Add>
Result<void> sum_over_processors(int fd, std::uint32_t index, Add add) {
  const int processors = libbpf_num_possible_cpus();
  if (processors <= 0) {
    return fail_errno("counting processors", -processors);
  }
  std::vector<Value> values(static_cast<std::size_t>(processors));
  if (bpf_map_lookup_elem(fd, &index, values.data()) != 0) {
    return fail_errno("lookup");
  }
  for (const auto& value : values) {
    add(value);
  }
  return {};
}

}  // namespace

Result<std::vector<PolicyEntry>> dump_policy(const Datapath& datapath) {
  std::vector<PolicyEntry> entries;
  auto read = visit(datapath, Map::kPolicy,
                    [&](const std::byte* key, const std::byte* value) {
                      entries.push_back({load<sluice_policy_key>(key),
                                         load<sluice_policy_value>(value)});
                    });
  if (!read) {
    return std::unexpected(read.error());
  }
  std::ranges::stable_sort(entries, PolicyKeyLess{}, &PolicyEntry::key);
  const auto twice = std::ranges::unique(
      entries,
      [](const auto& a, const auto& b) { return equal(a.key, b.key); });
  entries.erase(twice.begin(), twice.end());
  const unsigned slot =
      __atomic_load_n(&datapath.state()->epoch, __ATOMIC_ACQUIRE) & 1;
  std::unordered_set<std::uint32_t> policy_ids;
  for (std::uint32_t index = 0; index < SLUICE_ENDPOINTS_MAX; ++index) {
    policy_ids.insert(datapath.endpoints()[index].gen[slot].policy_id);
  }
  leave_out_standbys(entries, policy_ids);
  return entries;
}

void leave_out_standbys(std::vector<PolicyEntry>& entries,
                        const std::unordered_set<std::uint32_t>& policy_ids) {
  std::erase_if(entries, [&](const PolicyEntry& entry) {
    return !policy_ids.contains(entry.key.policy_id) &&
           policy_ids.contains(entry.key.policy_id ^ 1);
  });
}

Result<std::vector<ConntrackEntry>> dump_conntrack(const Datapath& datapath) {
  std::vector<ConntrackEntry> entries;
  auto read = visit(
      datapath, Map::kConntrack4,
      [&](const std::byte* key, const std::byte* value) {
        entries.push_back(conntrack_entry<sluice_conntrack4_key>(key, value));
      });
  if (read) {
    read = visit(
        datapath, Map::kConntrack6,
        [&](const std::byte* key, const std::byte* value) {
          entries.push_back(conntrack_entry<sluice_conntrack6_key>(key, value));
        });
  }
  if (!read) {
    return std::unexpected(read.error());
  }
  std::ranges::sort(entries, {}, conntrack_key);
  const auto twice = std::ranges::unique(entries, {}, conntrack_key);
  entries.erase(twice.begin(), twice.end());
  add_counted(entries, datapath);
  if (auto added =
          add_origins<sluice_conntrack4_key>(entries, datapath, Map::kOrigins4);
      !added) {
    return std::unexpected(added.error());
  }
  if (auto added =
          add_origins<sluice_conntrack6_key>(entries, datapath, Map::kOrigins6);
      !added) {
    return std::unexpected(added.error());
  }
  return entries;
}

std::uint64_t count_elements(const Datapath& datapath, Map map) {
  std::uint64_t count = 0;
  const auto read = visit(datapath, map,
                          [&](const std::byte*, const std::byte*) { ++count; });
  return read ? count : 0;
}

Result<std::vector<AgentStatus::Reason>> read_reasons(
    const Datapath& datapath) {
  std::vector<AgentStatus::Reason> reasons;
  for (std::uint32_t reason = 0; reason < SLUICE_REASON_COUNT; ++reason) {
    for (const std::uint32_t direction : {SLUICE_INGRESS, SLUICE_EGRESS}) {
      AgentStatus::Reason sum{
          .reason = kReasonTexts[reason],
          .direction = direction == SLUICE_INGRESS ? "ingress" : "egress",
          .allowed = kReasonAllows[reason]};
      auto read = sum_over_processors<sluice_counter>(
          datapath.map_fd(Map::kReasons),
          // NOLINTNEXTLINE(readability-math-missing-parentheses): abi.h's macro
          SLUICE_REASON_SLOT(reason, direction),
          [&](const sluice_counter& counter) {
            sum.packets += counter.packets;
            sum.bytes += counter.bytes;
          });
      if (!read) {
        return with_context("map reasons", read.error());
      }
      reasons.push_back(std::move(sum));
    }
  }
  return reasons;
}

Result<std::uint64_t> read_events_lost(const Datapath& datapath) {
  std::uint64_t lost = 0;
  auto read = sum_over_processors<sluice_event_budget>(
      datapath.map_fd(Map::kEventBudget), 0,
      [&](const sluice_event_budget& budget) { lost += budget.lost; });
  if (!read) {
    return with_context("map event_budget", read.error());
  }
  return lost;
}

}  // namespace sluice::agent
