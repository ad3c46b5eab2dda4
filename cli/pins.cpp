// SPDX-License-Identifier: Apache-2.0
#include "cli/pins.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <unordered_set>

#include <bpf/bpf.h>

#include "agent/datapath.h"
#include "agent/dump.h"
#include "agent/maps.h"
#include "lib/base/fd.h"

namespace sluice::cli {
namespace {

using agent::Map;

Result<Fd> open_map(const std::filesystem::path& pin_dir, Map map) {
  const auto path =
      pin_dir / SLUICE_ABI_VERSION_DIR / std::string(agent::map_name(map));
  Fd fd(bpf_obj_get(path.c_str()));
  if (!fd.valid()) {
    return fail_errno(path.string());
  }
  return fd;
}

Result<void> visit(const std::filesystem::path& pin_dir, Map map,
                   const agent::Maps::Visitor& visitor) {
  const auto fd = open_map(pin_dir, map);
  if (!fd) {
    return std::unexpected(fd.error());
  }
  bpf_map_info info{};
  __u32 size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd->get(), &info, &size) != 0) {
    return fail_errno(std::string(agent::map_name(map)));
  }
  if (info.key_size != agent::describe(map).key_size ||
      info.value_size != agent::describe(map).value_size) {
    return fail(std::string(agent::map_name(map)) +
                ": pinned by another version of sluice");
  }
  return agent::read_map(fd->get(), info.key_size, info.value_size,
                         info.max_entries, visitor);
}

Result<unsigned> generation(const std::filesystem::path& pin_dir) {
  const auto fd = open_map(pin_dir, Map::kState);
  if (!fd) {
    return std::unexpected(fd.error());
  }
  const __u32 zero = 0;
  sluice_state state{};
  if (bpf_map_lookup_elem(fd->get(), &zero, &state) != 0) {
    return fail_errno("state");
  }
  return state.epoch & 1;
}

template <typename T>
T value_at(const std::byte* bytes) {
  T value{};
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

IpAddress address_at(const std::byte* bytes, bool v6) {
  IpAddress address;
  address.v6 = v6;
  std::memcpy(address.bytes.data(), bytes, v6 ? 16 : 4);
  return address;
}

Result<void> add_addresses(const std::filesystem::path& pin_dir, bool v6,
                           unsigned slot, std::vector<PeerEntry>& peers) {
  return visit(pin_dir, v6 ? Map::kPeers6 : Map::kPeers4,
               [&](const std::byte* key, const std::byte* value) {
                 const auto peer = value_at<sluice_peer>(value);
                 const auto ip = address_at(key, v6);
                 peers.push_back({.prefix = make_prefix(ip, ip.bits()),
                                  .cidr_id = peer.cidr_id[slot]});
               });
}

Result<void> add_prefixes(const std::filesystem::path& pin_dir, bool v6,
                          unsigned slot, std::vector<PeerEntry>& peers) {
  return visit(
      pin_dir, v6 ? Map::kPrefixes6 : Map::kPrefixes4,
      [&](const std::byte* key, const std::byte* value) {
        const auto prefix = value_at<sluice_prefix_value>(value);
        const auto length = value_at<__u32>(key);
        const auto ip = address_at(key + sizeof(length), v6);
        peers.push_back({.prefix = make_prefix(ip, static_cast<int>(length)),
                         .cidr_id = prefix.cidr_id[slot]});
      });
}

}  // namespace

Result<std::vector<PolicyEntry>> read_pinned_policy(
    const std::filesystem::path& pin_dir) {
  std::vector<PolicyEntry> entries;
  auto read = visit(
      pin_dir, Map::kPolicy, [&](const std::byte* key, const std::byte* value) {
        entries.push_back({.key = value_at<sluice_policy_key>(key),
                           .value = value_at<sluice_policy_value>(value)});
      });
  if (!read) {
    return std::unexpected(read.error());
  }
  // After the entries: what comes into force meanwhile has been read.
  const auto slot = generation(pin_dir);
  if (!slot) {
    return std::unexpected(slot.error());
  }
  std::unordered_set<std::uint32_t> policy_ids;
  if (auto records =
          visit(pin_dir, Map::kEndpoints,
                [&](const std::byte*, const std::byte* value) {
                  policy_ids.insert(
                      value_at<sluice_endpoint>(value).gen[*slot].policy_id);
                });
      !records) {
    return std::unexpected(records.error());
  }
  agent::leave_out_standbys(entries, policy_ids);
  std::ranges::sort(entries, PolicyKeyLess{}, &PolicyEntry::key);
  return entries;
}

Result<std::vector<PeerEntry>> read_pinned_peers(
    const std::filesystem::path& pin_dir) {
  const auto slot = generation(pin_dir);
  if (!slot) {
    return std::unexpected(slot.error());
  }
  std::vector<PeerEntry> peers;
  for (const bool v6 : {false, true}) {
    if (auto read = add_addresses(pin_dir, v6, *slot, peers); !read) {
      return std::unexpected(read.error());
    }
    if (auto read = add_prefixes(pin_dir, v6, *slot, peers); !read) {
      return std::unexpected(read.error());
    }
  }
  std::ranges::sort(peers, {}, &PeerEntry::prefix);
  return peers;
}

}  // namespace sluice::cli
