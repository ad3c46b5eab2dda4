// SPDX-License-Identifier: Apache-2.0
#include "agent/adopt.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include <bpf/bpf.h>

#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace sluice::agent {
namespace {

struct InterfaceAddressesDeleter {
  void operator()(ifaddrs* list) const { freeifaddrs(list); }
};

class KernelSeedStore final : public SeedStore {
 public:
  KernelSeedStore(const Datapath& datapath, KernelClock clock)
      : state_(datapath.state()),
        fds_{datapath.map_fd(Map::kConntrack4),
             datapath.map_fd(Map::kConntrack6)},
        origins_{datapath.map_fd(Map::kOrigins4),
                 datapath.map_fd(Map::kOrigins6)},
        clock_(std::move(clock)) {}

  void start() override {
    if (const auto moment = clock_.read()) {
      now_ = moment->jiffies;
    }
  }

  int put(const Seed& seed, bool replace) override {
    if (seed.remote.v6) {
      sluice_conntrack6_key key{};
      std::memcpy(key.remote, seed.remote.bytes.data(), sizeof(key.remote));
      return put_as(key, seed, replace);
    }
    sluice_conntrack4_key key{};
    std::memcpy(&key.remote, seed.remote.bytes.data(), sizeof(key.remote));
    return put_as(key, seed, replace);
  }

 private:
  template <typename Key>
  int put_as(Key& key, const Seed& seed, bool replace) {
    key.ifindex = seed.ifindex;
    key.local_port = seed.local_port;
    key.remote_port = seed.remote_port;
    key.protocol = seed.protocol;
    const int fd = fds_.at(seed.remote.v6 ? 1 : 0);
    const auto value = value_of(seed);
    if (!replace && is_there(fd, key)) {
      return 0;
    }
    // The origin is written first, because it is read only if the flow exists.
    if (seed.origin) {
      sluice_origin origin{};
      std::ranges::copy(seed.origin->bytes, origin.address);
      if (bpf_map_update_elem(origins_.at(seed.remote.v6 ? 1 : 0), &key,
                              &origin, BPF_ANY) != 0) {
        return errno;
      }
    }
    return bpf_map_update_elem(fd, &key, &value,
                               replace ? BPF_ANY : BPF_NOEXIST) == 0 ||
                   errno == EEXIST
               ? 0
               : errno;
  }

  template <typename Key>
  static bool is_there(int fd, const Key& key) {
    sluice_conntrack value{};
    return bpf_map_lookup_elem(fd, &key, &value) == 0;
  }

  // Without a rule and with a past epoch, so that policy is evaluated.
  [[nodiscard]] sluice_conntrack value_of(const Seed& seed) const {
    sluice_conntrack value{};
    value.epoch = __atomic_load_n(&state_->epoch, __ATOMIC_RELAXED) - 2;
    value.last_seen = now_;
    value.rule = SLUICE_RULE_NONE;
    value.opened_by = seed.opened_by;
    value.state = seed.state;
    value.reason = SLUICE_REASON_ESTABLISHED;
    return value;
  }

  const sluice_state* state_;
  std::array<int, 2> fds_;
  std::array<int, 2> origins_;
  KernelClock clock_;
  std::uint32_t now_ = 0;
};

}  // namespace

Result<std::unique_ptr<SeedStore>> kernel_seed_store(const Datapath& datapath) {
  auto clock = KernelClock::open();
  if (!clock) {
    return std::unexpected(clock.error());
  }
  return std::make_unique<KernelSeedStore>(datapath, std::move(*clock));
}

bool has_flows(const Datapath& datapath) {
  sluice_conntrack6_key key{};  // the larger of the two
  return bpf_map_get_next_key(datapath.map_fd(Map::kConntrack4), nullptr,
                              &key) == 0 ||
         bpf_map_get_next_key(datapath.map_fd(Map::kConntrack6), nullptr,
                              &key) == 0;
}

Result<NodeAddresses> node_addresses() {
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) {
    return fail_errno("the node's addresses");
  }
  const std::unique_ptr<ifaddrs, InterfaceAddressesDeleter> list(first);
  NodeAddresses result;
  for (const ifaddrs* at = first; at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr) {
      continue;
    }
    IpAddress ip{.bytes = {}, .v6 = at->ifa_addr->sa_family == AF_INET6};
    if (ip.v6) {
      sockaddr_in6 address{};
      std::memcpy(&address, at->ifa_addr, sizeof(address));
      std::memcpy(ip.bytes.data(), &address.sin6_addr, 16);
    } else if (at->ifa_addr->sa_family == AF_INET) {
      sockaddr_in address{};
      std::memcpy(&address, at->ifa_addr, sizeof(address));
      std::memcpy(ip.bytes.data(), &address.sin_addr, 4);
    } else {
      continue;
    }
    result.insert(ip);
  }
  return result;
}

void Adoption::note(const std::string& text) {
  if (noted_.insert(text).second && notice_) {
    notice_(text);
  }
}

void Adoption::put(const TrackedFlow& flow, const NodeAddresses& node,
                   bool replace, Found& found) {
  found.families[flow.original.source.v6 ? 1 : 0] = true;
  if (is_picked_up(flow)) {
    for (const auto& end : {flow.original.source, flow.reply.source}) {
      if (const auto it = adopted_.find(end); it != adopted_.end()) {
        found.half.insert(it->second);
      }
    }
  }
  for (const auto& seed : seeds_of(flow, adopted_, node)) {
    if (const int error = store_->put(seed, replace); error == 0) {
      ++progress_.seeded;
    } else {
      ++progress_.refused;
      note(std::string(
               "flows that are older than enforcement cannot be written to "
               "conntrack: ") +
           std::generic_category().message(error));
    }
  }
}

Adoption::Found Adoption::read(bool replace) {
  Found found;
  const auto count = tracking_->count();
  if (!count && count.error().code == EPROTONOSUPPORT) {
    note(
        "the kernel has no connection tracking, so flows that are older than "
        "enforcement are unknown");
    return found;
  }
  if (!count) {
    note("flows that are older than enforcement are not known: " +
         count.error().message);
    return found;
  }
  if (*count == 0) {
    note(
        "the kernel tracks no connections, so flows that are older than "
        "enforcement are unknown");
    return found;
  }
  const auto node = node_addresses();
  if (!node) {
    note("flows that are older than enforcement are not known: " +
         node.error().message);
    return found;
  }
  ++progress_.reads;
  store_->start();
  const auto done =
      tracking_->read(addresses_, *count, [&](const TrackedFlow& flow) {
        put(flow, *node, replace, found);
        return true;
      });
  if (!done) {
    note("some flows that are older than enforcement are unknown: " +
         done.error().message);
  }
  found.all = done.has_value();
  return found;
}

// Rules may make the kernel track only one family.
bool Adoption::tracks(bool v6, const Found& found) {
  bool& known = tracks_[v6 ? 1 : 0];
  known = known || found.families[v6 ? 1 : 0] ||
          tracking_->has_any(v6).value_or(false);
  return known;
}

std::unordered_set<std::uint32_t> Adoption::begin(
    const std::vector<NewlyEnforced>& newly_enforced) {
  std::unordered_set<std::uint32_t> unknown;
  if (newly_enforced.empty()) {
    return unknown;
  }
  for (const auto& beginner : newly_enforced) {
    for (const auto& ip : beginner.ips) {
      adopted_[ip] = beginner.ifindex;
    }
  }
  addresses_.clear();
  for (const auto& [ip, ifindex] : adopted_) {
    addresses_.push_back(ip);
  }
  const auto found = read(true);
  for (const auto& beginner : newly_enforced) {
    const bool seen = std::ranges::all_of(
        beginner.ips, [&](const auto& ip) { return tracks(ip.v6, found); });
    if (!found.all || !seen || beginner.switched_unseen ||
        found.half.contains(beginner.ifindex)) {
      unknown.insert(beginner.ifindex);
    }
  }
  return unknown;
}

void Adoption::finish() {
  if (adopted_.empty()) {
    return;
  }
  (void)read(false);
  adopted_.clear();
  addresses_.clear();
}

}  // namespace sluice::agent
