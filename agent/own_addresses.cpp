// SPDX-License-Identifier: Apache-2.0
#include "agent/own_addresses.h"

#include <array>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>

#include <net/if.h>
#include <sys/socket.h>

#include "agent/netlink_socket.h"

namespace sluice::agent {
namespace {

constexpr std::string_view kIpvsDevice = "kube-ipvs0";

// An address of a device, and whether the device has it or has lost it.
struct Assignment {
  std::uint32_t ifindex = 0;
  IpAddress address;
  bool assigned = false;
};

bool is_multicast(const IpAddress& address) {
  static const auto v4 = *parse_prefix("224.0.0.0/4");
  static const auto v6 = *parse_prefix("ff00::/8");
  return v4.contains(address) || v6.contains(address);
}

bool has_services(std::uint32_t ifindex) {
  std::array<char, IF_NAMESIZE> name{};
  return ::if_indextoname(ifindex, name.data()) != nullptr &&
         std::string_view(name.data()) == kIpvsDevice;
}

std::optional<Assignment> read(const nlmsghdr& header) {
  if (header.nlmsg_type != RTM_NEWADDR && header.nlmsg_type != RTM_DELADDR) {
    return std::nullopt;
  }
  // libnl does not change the message, but does not say so.
  auto* message = const_cast<nlmsghdr*>(&header);
  std::array<nlattr*, IFA_MAX + 1> table{};
  if (nlmsg_valid_hdr(message, sizeof(ifaddrmsg)) == 0 ||
      nlmsg_parse(message, sizeof(ifaddrmsg), table.data(), IFA_MAX, nullptr) !=
          0) {
    return std::nullopt;
  }
  ifaddrmsg fixed{};
  std::memcpy(&fixed, nlmsg_data(message), sizeof(fixed));
  // On a point-to-point device IFA_ADDRESS is the other end's.
  auto address = netlink_address(table[IFA_LOCAL], fixed.ifa_family);
  if (!address) {
    address = netlink_address(table[IFA_ADDRESS], fixed.ifa_family);
  }
  const std::uint32_t flags =
      table[IFA_FLAGS] != nullptr && nla_len(table[IFA_FLAGS]) >= 4
          ? nla_get_u32(table[IFA_FLAGS])
          : fixed.ifa_flags;
  if (!address || is_loopback(*address) || is_multicast(*address)) {
    return std::nullopt;
  }
  // An address that failed duplicate address detection belongs to another host.
  return Assignment{.ifindex = fixed.ifa_index,
                    .address = *address,
                    .assigned = header.nlmsg_type == RTM_NEWADDR &&
                                (flags & IFA_F_DADFAILED) == 0 &&
                                !has_services(fixed.ifa_index)};
}

}  // namespace

struct OwnAddresses::Impl {
  NetlinkFeed netlink;
  std::map<IpAddress, std::set<std::uint32_t>> devices;
  std::vector<IpAddress> all;
  bool lost =
      false;  // events were lost, and not everything has been read since

  Result<void> read_everything();
  static int on_message(nl_msg* message, void* self) noexcept;
};

// Called by libnl; must not throw. Only memory can run out here, and the
// program cannot continue without it.
int OwnAddresses::Impl::on_message(nl_msg* message, void* self) noexcept {
  auto& devices = static_cast<Impl*>(self)->devices;
  const auto seen = read(*nlmsg_hdr(message));
  if (!seen) {
    return NL_OK;
  }
  if (seen->assigned) {
    devices[seen->address].insert(seen->ifindex);
    return NL_OK;
  }
  const auto it = devices.find(seen->address);
  if (it != devices.end() && it->second.erase(seen->ifindex) != 0 &&
      it->second.empty()) {
    devices.erase(it);
  }
  return NL_OK;
}

// Events that arrive while this runs are read afterwards, so the result is the
// current state whatever the dump contained.
Result<void> OwnAddresses::Impl::read_everything() {
  auto before = std::exchange(devices, {});
  const ifaddrmsg header{.ifa_family = AF_UNSPEC};
  const int error = netlink_dump(netlink.requests.get(), RTM_GETADDR, &header,
                                 sizeof(header), [this] { devices.clear(); });
  if (error < 0) {
    devices = std::move(before);
    lost = true;
    return fail_netlink("read addresses", error);
  }
  lost = false;
  return {};
}

OwnAddresses::OwnAddresses() : impl_(std::make_unique<Impl>()) {}
OwnAddresses::OwnAddresses(OwnAddresses&&) noexcept = default;
OwnAddresses& OwnAddresses::operator=(OwnAddresses&&) noexcept = default;
OwnAddresses::~OwnAddresses() = default;

Result<OwnAddresses> OwnAddresses::open(int receive_bytes) {
  OwnAddresses result;
  auto& impl = *result.impl_;
  auto feed = netlink_feed("subscribe to addresses",
                           {RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR},
                           receive_bytes, &Impl::on_message, &impl);
  if (!feed) {
    return std::unexpected(feed.error());
  }
  impl.netlink = std::move(*feed);
  if (auto begun = impl.read_everything(); !begun) {
    return std::unexpected(begun.error());
  }
  if (const auto seen = result.dispatch(); !seen) {
    return std::unexpected(seen.error());
  }
  return result;
}

int OwnAddresses::fd() const {
  return nl_socket_get_fd(impl_->netlink.events.get());
}

Result<bool> OwnAddresses::dispatch() {
  auto& impl = *impl_;
  if (!netlink_read(impl.netlink.events.get()) || impl.lost) {
    if (auto result = impl.read_everything(); !result) {
      return std::unexpected(result.error());
    }
  }
  std::vector<IpAddress> now;
  now.reserve(impl.devices.size());
  for (const auto& [address, ifindexes] : impl.devices) {
    now.push_back(address);
  }
  return std::exchange(impl.all, now) != now;
}

const std::vector<IpAddress>& OwnAddresses::all() const {
  return impl_->all;
}

}  // namespace sluice::agent
