// SPDX-License-Identifier: Apache-2.0
#include "agent/netlink_tables.h"

#include <algorithm>
#include <cstring>

#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <net/if.h>
#include <sys/socket.h>

#include "agent/netlink_socket.h"

namespace sluice::agent {
namespace {

// Attributes beyond this are not used.
constexpr int kMaxAttribute = 63;

// The attributes of a message whose fixed part is a Header.
template <typename Header>
class Attributes {
 public:
  explicit Attributes(const nlmsghdr& header) {
    // libnl does not change the message, but does not say so.
    auto* message = const_cast<nlmsghdr*>(&header);
    valid_ = nlmsg_valid_hdr(message, sizeof(Header)) != 0 &&
             nlmsg_parse(message, sizeof(Header), table_.data(), kMaxAttribute,
                         nullptr) == 0;
    if (valid_) {
      std::memcpy(&fixed_, nlmsg_data(message), sizeof(fixed_));
    }
  }
  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] const Header& fixed() const { return fixed_; }
  [[nodiscard]] nlattr* get(int type) const { return table_[type]; }
  [[nodiscard]] std::uint32_t number(int type) const {
    nlattr* attribute = table_[type];
    return attribute != nullptr && nla_len(attribute) >= 4
               ? nla_get_u32(attribute)
               : 0;
  }
  [[nodiscard]] std::string text(int type) const {
    return table_[type] != nullptr ? nla_get_string(table_[type]) : "";
  }
  // nullopt if the attribute is absent or of another family.
  [[nodiscard]] std::optional<IpAddress> address(int type, int family) const {
    return netlink_address(table_[type], family);
  }
  [[nodiscard]] std::optional<Mac> mac(int type) const {
    nlattr* attribute = table_[type];
    Mac result{};
    if (attribute == nullptr ||
        nla_len(attribute) != static_cast<int>(result.size())) {
      return std::nullopt;
    }
    std::memcpy(result.data(), nla_data(attribute), result.size());
    return result;
  }

 private:
  std::array<nlattr*, kMaxAttribute + 1> table_{};
  Header fixed_{};
  bool valid_ = false;
};

std::string link_kind(nlattr* info) {
  std::array<nlattr*, IFLA_INFO_MAX + 1> nested{};
  if (info == nullptr ||
      nla_parse_nested(nested.data(), IFLA_INFO_MAX, info, nullptr) != 0 ||
      nested[IFLA_INFO_KIND] == nullptr) {
    return {};
  }
  return nla_get_string(nested[IFLA_INFO_KIND]);
}

template <typename T>
bool add(std::vector<T>& to, const T& item) {
  if (std::ranges::find(to, item) != to.end()) {
    return false;
  }
  to.push_back(item);
  return true;
}

}  // namespace

bool NetlinkTables::take(const nlmsghdr& header,
                         std::vector<std::uint32_t>& gone) {
  switch (header.nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      return take_link(header, gone);
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      return take_route(header);
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      return take_neighbour(header);
    default:
      return false;
  }
}

bool NetlinkTables::take_link(const nlmsghdr& header,
                              std::vector<std::uint32_t>& gone) {
  const Attributes<ifinfomsg> attributes(header);
  // A bridge reports its ports by the same messages, with its own family: a
  // port that leaves it is "deleted".
  if (!attributes.valid() || attributes.fixed().ifi_family == AF_BRIDGE) {
    return false;
  }
  const auto ifindex = static_cast<std::uint32_t>(attributes.fixed().ifi_index);
  if (header.nlmsg_type == RTM_DELLINK) {
    links_.erase(ifindex);
    forget_routes(ifindex);
    forget_neighbours(ifindex);
    gone.push_back(ifindex);
    return true;
  }
  // IPv4 routes of an interface that goes down are removed without an event.
  if ((attributes.fixed().ifi_flags & IFF_UP) == 0) {
    forget_routes(ifindex);
  }
  Link link{.name = attributes.text(IFLA_IFNAME),
            .kind = link_kind(attributes.get(IFLA_LINKINFO)),
            .master = attributes.number(IFLA_MASTER)};
  auto& known = links_[ifindex];
  if (known == link) {
    return false;
  }
  known = std::move(link);
  return true;
}

void NetlinkTables::forget_routes(std::uint32_t ifindex) {
  for (auto it = routes_.begin(); it != routes_.end();) {
    std::erase_if(it->second,
                  [&](const auto& r) { return r.ifindex == ifindex; });
    it = it->second.empty() ? routes_.erase(it) : std::next(it);
  }
  std::erase_if(subnets_, [&](const auto& s) { return s.ifindex == ifindex; });
}

void NetlinkTables::forget_neighbours(std::uint32_t ifindex) {
  for (auto it = neighbours_.begin(); it != neighbours_.end();) {
    std::erase_if(it->second,
                  [&](const auto& n) { return n.ifindex == ifindex; });
    it = it->second.empty() ? neighbours_.erase(it) : std::next(it);
  }
  std::erase_if(forwarding_, [&](const auto& entry) {
    return entry.first.first == ifindex || entry.second == ifindex;
  });
}

bool NetlinkTables::take_route(const nlmsghdr& header) {
  const Attributes<rtmsg> attributes(header);
  if (!attributes.valid()) {
    return false;
  }
  const rtmsg& fixed = attributes.fixed();
  const bool ip = fixed.rtm_family == AF_INET || fixed.rtm_family == AF_INET6;
  if (!ip || fixed.rtm_type != RTN_UNICAST ||
      (fixed.rtm_flags & RTM_F_CLONED) != 0) {
    return false;
  }
  const std::uint32_t ifindex = attributes.number(RTA_OIF);
  const auto destination = attributes.address(RTA_DST, fixed.rtm_family);
  if (!destination || ifindex == 0) {
    return false;
  }
  if (fixed.rtm_dst_len == destination->bits()) {
    const std::uint32_t table = attributes.get(RTA_TABLE) != nullptr
                                    ? attributes.number(RTA_TABLE)
                                    : fixed.rtm_table;
    return take_host_route(header, *destination,
                           {.table = table,
                            .priority = attributes.number(RTA_PRIORITY),
                            .ifindex = ifindex});
  }
  if (attributes.get(RTA_GATEWAY) != nullptr) {
    return false;
  }
  return take_subnet(header,
                     {.prefix = make_prefix(*destination, fixed.rtm_dst_len),
                      .ifindex = ifindex});
}

bool NetlinkTables::take_host_route(const nlmsghdr& header, const IpAddress& ip,
                                    const HostRoute& route) {
  auto& routes = routes_[ip];
  const auto before = routes;
  const bool added = header.nlmsg_type == RTM_NEWROUTE;
  if (added && (header.nlmsg_flags & NLM_F_REPLACE) != 0) {
    // There is no event for the route that this one replaces.
    std::erase_if(routes, [&](const auto& old) {
      return old.table == route.table && old.priority == route.priority;
    });
  }
  if (added) {
    add(routes, route);
  } else {
    std::erase(routes, route);
  }
  const bool changed = routes != before;
  if (routes.empty()) {
    routes_.erase(ip);
  }
  return changed;
}

bool NetlinkTables::take_subnet(const nlmsghdr& header, const Subnet& subnet) {
  if (header.nlmsg_type == RTM_NEWROUTE) {
    return add(subnets_, subnet);
  }
  return std::erase(subnets_, subnet) != 0;
}

bool NetlinkTables::take_neighbour(const nlmsghdr& header) {
  const Attributes<ndmsg> attributes(header);
  if (!attributes.valid()) {
    return false;
  }
  const ndmsg& fixed = attributes.fixed();
  if (fixed.ndm_family == AF_BRIDGE) {
    return take_forwarding(header);
  }
  const auto ip = attributes.address(NDA_DST, fixed.ndm_family);
  if (!ip) {
    return false;
  }
  const auto ifindex = static_cast<std::uint32_t>(fixed.ndm_ifindex);
  const auto mac = attributes.mac(NDA_LLADDR);
  constexpr int kUnknown = NUD_INCOMPLETE | NUD_FAILED;
  const bool known = header.nlmsg_type == RTM_NEWNEIGH && mac &&
                     (fixed.ndm_state & kUnknown) == 0 && fixed.ndm_state != 0;
  auto& neighbours = neighbours_[*ip];
  const auto before = neighbours;
  std::erase_if(neighbours,
                [&](const auto& n) { return n.ifindex == ifindex; });
  if (known) {
    neighbours.push_back({.ifindex = ifindex, .mac = *mac});
  }
  const bool changed = neighbours != before;
  if (neighbours.empty()) {
    neighbours_.erase(*ip);
  }
  return changed;
}

bool NetlinkTables::take_forwarding(const nlmsghdr& header) {
  const Attributes<ndmsg> attributes(header);
  const auto mac = attributes.mac(NDA_LLADDR);
  const std::uint32_t bridge = attributes.number(NDA_MASTER);
  const auto port = static_cast<std::uint32_t>(attributes.fixed().ndm_ifindex);
  if (!mac || bridge == 0) {
    return false;
  }
  const std::pair key(bridge, *mac);
  const auto it = forwarding_.find(key);
  if (header.nlmsg_type == RTM_NEWNEIGH) {
    const bool changed = it == forwarding_.end() || it->second != port;
    forwarding_[key] = port;
    return changed;
  }
  if (it == forwarding_.end() || it->second != port) {
    return false;
  }
  forwarding_.erase(it);
  return true;
}

bool NetlinkTables::is_kind(std::uint32_t ifindex, const char* kind) const {
  const auto it = links_.find(ifindex);
  return it != links_.end() && it->second.kind == kind;
}

std::uint32_t NetlinkTables::routed(const IpAddress& ip) const {
  const auto it = routes_.find(ip);
  if (it == routes_.end()) {
    return 0;
  }
  const HostRoute* best = nullptr;
  const auto rank = [](const HostRoute& route) {
    return std::pair(route.table != RT_TABLE_MAIN, route.priority);
  };
  for (const auto& route : it->second) {
    if (is_kind(route.ifindex, "veth") &&
        (best == nullptr || rank(route) < rank(*best))) {
      best = &route;
    }
  }
  return best == nullptr ? 0 : best->ifindex;
}

std::uint32_t NetlinkTables::bridged(const IpAddress& ip) const {
  const auto it = neighbours_.find(ip);
  if (it == neighbours_.end()) {
    return 0;
  }
  for (const auto& neighbour : it->second) {
    const auto port = forwarding_.find({neighbour.ifindex, neighbour.mac});
    // Not the uplink, behind which the pods of other nodes are.
    if (port != forwarding_.end() && is_kind(port->second, "veth")) {
      return port->second;
    }
  }
  return 0;
}

std::uint32_t NetlinkTables::routed_elsewhere(const IpAddress& ip) const {
  const auto it = routes_.find(ip);
  if (it == routes_.end()) {
    return 0;
  }
  const auto other = std::ranges::find_if(it->second, [&](const auto& route) {
    return !is_kind(route.ifindex, "veth") && links_.contains(route.ifindex);
  });
  return other == it->second.end() ? 0 : other->ifindex;
}

std::uint32_t NetlinkTables::on_link(const IpAddress& ip) const {
  const Subnet* best = nullptr;
  for (const auto& subnet : subnets_) {
    if (subnet.prefix.contains(ip) && links_.contains(subnet.ifindex) &&
        (best == nullptr || best->prefix.length < subnet.prefix.length)) {
      best = &subnet;
    }
  }
  // A pod on a bridge has a veth, which its neighbour entry will name.
  return best == nullptr || is_kind(best->ifindex, "bridge") ? 0
                                                             : best->ifindex;
}

std::vector<std::uint32_t> NetlinkTables::bridges_for(
    const IpAddress& ip) const {
  std::vector<std::uint32_t> result;
  for (const auto& subnet : subnets_) {
    if (subnet.prefix.contains(ip) && is_kind(subnet.ifindex, "bridge")) {
      add(result, subnet.ifindex);
    }
  }
  return result;
}

std::optional<int> NetlinkTables::bridged_prefix(std::uint32_t ifindex,
                                                 const IpAddress& ip) const {
  const auto link = links_.find(ifindex);
  if (link == links_.end() || !is_kind(link->second.master, "bridge")) {
    return std::nullopt;
  }
  int longest = 0;
  for (const auto& subnet : subnets_) {
    if (subnet.ifindex == link->second.master && subnet.prefix.contains(ip)) {
      longest = std::max(longest, subnet.prefix.length);
    }
  }
  return longest;
}

}  // namespace sluice::agent
