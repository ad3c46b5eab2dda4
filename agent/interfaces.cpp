// SPDX-License-Identifier: Apache-2.0
#include "agent/interfaces.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <unordered_map>
#include <utility>

#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

#include <fnmatch.h>
#include <sys/socket.h>

#include "agent/attach.h"
#include "agent/netlink_socket.h"
#include "agent/netlink_tables.h"

namespace sluice::agent {
namespace {

// The interface named by a message about tc filters or their qdisc; 0 if the
// message cannot concern our filters. It can if filters are deleted or our slot
// has changed.
std::uint32_t interface_of_filter(const nlmsghdr& header) {
  tcmsg tc{};
  if (header.nlmsg_len < NLMSG_LENGTH(sizeof(tc))) {
    return 0;
  }
  std::memcpy(&tc, NLMSG_DATA(&header), sizeof(tc));
  const bool slot_taken = header.nlmsg_type == RTM_NEWTFILTER &&
                          tc.tcm_handle == kFilterHandle &&
                          TC_H_MAJ(tc.tcm_info) >> 16 == kFilterPriority;
  const bool clsact_gone =
      header.nlmsg_type == RTM_DELQDISC && tc.tcm_parent == TC_H_CLSACT;
  const bool concerns =
      header.nlmsg_type == RTM_DELTFILTER || slot_taken || clsact_gone;
  return concerns && tc.tcm_ifindex > 0
             ? static_cast<std::uint32_t>(tc.tcm_ifindex)
             : 0;
}

struct MessageDeleter {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};
using Message = std::unique_ptr<nl_msg, MessageDeleter>;

}  // namespace

struct Interfaces::Impl {
  NetlinkFeed netlink;
  NetlinkTables tables;
  Changes changes;  // since the last dispatch()
  std::vector<std::string> pod_patterns;
  struct Announced {
    std::uint32_t ifindex = 0;
    bool starting = false;
  };
  std::unordered_map<std::string, Announced> announced;

  Result<void> resync();
  template <typename Header>
  Result<void> dump(int type, const Header& header);
  static int on_message(nl_msg* message, void* self) noexcept;
};

// Called by libnl; must not throw. Only memory can run out here, and the
// program cannot continue without it.
int Interfaces::Impl::on_message(nl_msg* message, void* self) noexcept {
  auto& impl = *static_cast<Impl*>(self);
  const nlmsghdr& header = *nlmsg_hdr(message);
  if (const auto ifindex = interface_of_filter(header); ifindex != 0) {
    impl.changes.filters.push_back(ifindex);
    impl.changes.any = true;
  } else if (impl.tables.take(header, impl.changes.gone)) {
    impl.changes.any = true;
  }
  return NL_OK;
}

template <typename Header>
Result<void> Interfaces::Impl::dump(int type, const Header& header) {
  const int error =
      netlink_dump(netlink.requests.get(), type, &header, sizeof(header));
  if (error < 0) {
    return fail_netlink("dump", error);
  }
  return {};
}

// Events that arrive while this runs are read afterwards, so the result is the
// current state whatever the dump contained.
Result<void> Interfaces::Impl::resync() {
  const auto old = std::exchange(tables, NetlinkTables{});
  auto result = dump(RTM_GETLINK, ifinfomsg{.ifi_family = AF_UNSPEC});
  for (const unsigned char family : {AF_INET, AF_INET6}) {
    if (result) {
      result = dump(RTM_GETROUTE, rtmsg{.rtm_family = family});
    }
    if (result) {
      result = dump(RTM_GETNEIGH, ndmsg{.ndm_family = family});
    }
  }
  if (result) {
    result = dump(RTM_GETNEIGH, ndmsg{.ndm_family = AF_BRIDGE});
  }
  if (!result) {
    tables = old;
    return result;
  }
  for (const auto& [ifindex, link] : old.links()) {
    if (!tables.links().contains(ifindex)) {
      changes.gone.push_back(ifindex);
    }
  }
  changes.any = true;
  changes.resynced = true;
  return {};
}

Interfaces::Interfaces() : impl_(std::make_unique<Impl>()) {}
Interfaces::Interfaces(Interfaces&&) noexcept = default;
Interfaces& Interfaces::operator=(Interfaces&&) noexcept = default;
Interfaces::~Interfaces() = default;

Result<Interfaces> Interfaces::open(int receive_bytes) {
  Interfaces result;
  auto& impl = *result.impl_;
  auto feed = netlink_feed("subscribe",
                           {RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE,
                            RTNLGRP_IPV6_ROUTE, RTNLGRP_NEIGH, RTNLGRP_TC},
                           receive_bytes, &Impl::on_message, &impl);
  if (!feed) {
    return std::unexpected(feed.error());
  }
  impl.netlink = std::move(*feed);
  if (auto begun = impl.resync(); !begun) {
    return std::unexpected(begun.error());
  }
  impl.changes = {};
  return result;
}

int Interfaces::fd() const {
  return nl_socket_get_fd(impl_->netlink.events.get());
}

Result<Interfaces::Changes> Interfaces::dispatch() {
  if (!netlink_read(impl_->netlink.events.get())) {
    if (auto result = impl_->resync(); !result) {
      return std::unexpected(result.error());
    }
  }
  for (const std::uint32_t ifindex : impl_->changes.gone) {
    std::erase_if(impl_->announced, [&](const auto& item) {
      return item.second.ifindex == ifindex;
    });
  }
  return std::exchange(impl_->changes, {});
}

void Interfaces::announce(const std::string& endpoint, std::uint32_t ifindex,
                          bool starting) {
  if (ifindex == 0) {
    impl_->announced.erase(endpoint);
  } else {
    impl_->announced[endpoint] = {.ifindex = ifindex, .starting = starting};
  }
}

bool Interfaces::is_starting(const std::string& endpoint) const {
  const auto it = impl_->announced.find(endpoint);
  return it != impl_->announced.end() && it->second.starting;
}

void Interfaces::set_pod_patterns(std::vector<std::string> patterns) {
  impl_->pod_patterns = std::move(patterns);
}

bool Interfaces::is_pods(const std::string& name) const {
  return std::ranges::any_of(
      impl_->pod_patterns, [&](const std::string& pattern) {
        return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
      });
}

bool Interfaces::may_be_named(const std::string& name) const {
  return impl_->pod_patterns.empty() || is_pods(name);
}

std::optional<Interfaces::Found> Interfaces::find(
    const EndpointEntry& endpoint) const {
  if (const auto it = impl_->announced.find(endpoint.name);
      it != impl_->announced.end()) {
    return Found{
        .ifindex = it->second.ifindex, .announced = true, .trusted = true};
  }
  if (!endpoint.interface.empty()) {
    if (!may_be_named(endpoint.interface)) {
      return std::nullopt;
    }
    const auto ifindex = index(endpoint.interface);
    return ifindex == 0
               ? std::nullopt
               : std::optional(Found{.ifindex = ifindex, .trusted = true});
  }
  for (const auto& ip : endpoint.ips) {
    if (const auto ifindex = impl_->tables.routed(ip); ifindex != 0) {
      return Found{.ifindex = ifindex, .trusted = true};
    }
  }
  for (const auto& ip : endpoint.ips) {
    if (const auto ifindex = impl_->tables.bridged(ip); ifindex != 0) {
      return Found{.ifindex = ifindex, .trusted = false};
    }
  }
  return std::nullopt;
}

std::string Interfaces::reached_by(const EndpointEntry& endpoint) const {
  const auto& tables = impl_->tables;
  const auto device = [&](std::uint32_t ifindex) {
    const auto& link = tables.links().at(ifindex);
    return (link.kind.empty() ? "the device " : link.kind + " ") + link.name;
  };
  for (const auto& ip : endpoint.ips) {
    if (const auto ifindex = tables.routed_elsewhere(ip); ifindex != 0) {
      return to_string(ip) + " is routed to " + device(ifindex) +
             ", which is no veth";
    }
  }
  for (const auto& ip : endpoint.ips) {
    if (const auto ifindex = tables.on_link(ip); ifindex != 0) {
      return to_string(ip) + " is on the link of " + device(ifindex) +
             ", as with ipvlan, macvlan and host-device";
    }
  }
  return {};
}

void Interfaces::solicit(const EndpointEntry& endpoint) {
  for (const auto& ip : endpoint.ips) {
    for (const std::uint32_t bridge : impl_->tables.bridges_for(ip)) {
      const Message message(
          nlmsg_alloc_simple(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE));
      ndmsg header{
          .ndm_family = static_cast<unsigned char>(ip.v6 ? AF_INET6 : AF_INET),
          .ndm_ifindex = static_cast<int>(bridge),
          .ndm_flags = NTF_USE};
      if (!message ||
          nlmsg_append(message.get(), &header, sizeof(header), NLMSG_ALIGNTO) <
              0 ||
          nla_put(message.get(), NDA_DST, ip.bits() / 8, ip.bytes.data()) < 0) {
        return;
      }
      // If this fails there is no answer, and the endpoint stays as it is.
      if (nl_send_auto(impl_->netlink.requests.get(), message.get()) >= 0) {
        nl_wait_for_ack(impl_->netlink.requests.get());
      }
    }
  }
}

std::uint8_t Interfaces::on_link6(std::uint32_t ifindex,
                                  const IpAddress& ip) const {
  // The usual length, for a bridge without an address of the subnet (RFC 4291,
  // 2.5.4).
  constexpr int kUsual = 64;
  constexpr int kRouted = 128;
  const auto bridged = impl_->tables.bridged_prefix(ifindex, ip);
  if (!bridged) {
    return kRouted;
  }
  return static_cast<std::uint8_t>(*bridged == 0 ? kUsual : *bridged);
}

bool Interfaces::exists(std::uint32_t ifindex) const {
  return impl_->tables.links().contains(ifindex);
}

bool Interfaces::is_switched_unseen(std::uint32_t ifindex, bool v6) const {
  const auto it = impl_->tables.links().find(ifindex);
  if (it == impl_->tables.links().end() ||
      !impl_->tables.is_kind(it->second.master, "bridge")) {
    return false;
  }
  // Without the module, the file does not exist.
  std::ifstream file(v6 ? "/proc/sys/net/bridge/bridge-nf-call-ip6tables"
                        : "/proc/sys/net/bridge/bridge-nf-call-iptables");
  int value = 0;
  return !(file >> value) || value == 0;
}

std::string Interfaces::name(std::uint32_t ifindex) const {
  const auto it = impl_->tables.links().find(ifindex);
  return it == impl_->tables.links().end() ? "" : it->second.name;
}

std::uint32_t Interfaces::index(const std::string& name) const {
  for (const auto& [ifindex, link] : impl_->tables.links()) {
    if (link.name == name) {
      return ifindex;
    }
  }
  return 0;
}

std::vector<std::uint32_t> Interfaces::all() const {
  std::vector<std::uint32_t> result;
  for (const auto& [ifindex, link] : impl_->tables.links()) {
    result.push_back(ifindex);
  }
  return result;
}

}  // namespace sluice::agent
