// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <linux/netlink.h>

#include "lib/base/ip.h"

namespace sluice::agent {

using Mac = std::array<std::uint8_t, 6>;

// Links, routes to pods, neighbours and forwarding entries of bridges, built
// from the messages of a dump and from later events.
class NetlinkTables {
 public:
  struct Link {
    std::string name;
    std::string kind;          // "veth", "bridge", ...
    std::uint32_t master = 0;  // the bridge that it is a port of; 0 = none
    bool operator==(const Link&) const = default;
  };
  struct HostRoute {
    std::uint32_t table = 0;
    std::uint32_t priority = 0;
    std::uint32_t ifindex = 0;
    bool operator==(const HostRoute&) const = default;
  };
  struct Neighbour {
    std::uint32_t ifindex = 0;
    Mac mac{};
    bool operator==(const Neighbour&) const = default;
  };
  struct Subnet {
    IpPrefix prefix;
    std::uint32_t ifindex = 0;
    bool operator==(const Subnet&) const = default;
  };

  // Takes one message. Returns true if it changed anything. If the message
  // reports a deleted interface, adds it to `gone`.
  bool take(const nlmsghdr& header, std::vector<std::uint32_t>& gone);

  [[nodiscard]] const std::unordered_map<std::uint32_t, Link>& links() const {
    return links_;
  }
  [[nodiscard]] bool is_kind(std::uint32_t ifindex, const char* kind) const;
  // The device of the host route to an address; 0 = none.
  [[nodiscard]] std::uint32_t routed(const IpAddress& ip) const;
  // The port behind which an address is a neighbour on a bridge; 0 = none.
  [[nodiscard]] std::uint32_t bridged(const IpAddress& ip) const;
  // The device of a host route to an address, if the device is not a veth; 0 =
  // none.
  [[nodiscard]] std::uint32_t routed_elsewhere(const IpAddress& ip) const;
  // The device of the longest route by which the address is on the link; 0 =
  // there is none, or the device is a bridge.
  [[nodiscard]] std::uint32_t on_link(const IpAddress& ip) const;
  // Bridges with a route by which the address is on the link.
  [[nodiscard]] std::vector<std::uint32_t> bridges_for(
      const IpAddress& ip) const;
  // The length of the longest prefix that contains the address and is on the
  // link of the interface's bridge; nullopt if the interface is not a port of a
  // bridge, 0 if the bridge has no such prefix.
  [[nodiscard]] std::optional<int> bridged_prefix(std::uint32_t ifindex,
                                                  const IpAddress& ip) const;

 private:
  bool take_link(const nlmsghdr& header, std::vector<std::uint32_t>& gone);
  bool take_route(const nlmsghdr& header);
  bool take_host_route(const nlmsghdr& header, const IpAddress& ip,
                       const HostRoute& route);
  bool take_subnet(const nlmsghdr& header, const Subnet& subnet);
  bool take_neighbour(const nlmsghdr& header);
  bool take_forwarding(const nlmsghdr& header);
  void forget_routes(std::uint32_t ifindex);
  void forget_neighbours(std::uint32_t ifindex);

  std::unordered_map<std::uint32_t, Link> links_;
  std::unordered_map<IpAddress, std::vector<HostRoute>> routes_;
  std::vector<Subnet> subnets_;
  std::unordered_map<IpAddress, std::vector<Neighbour>> neighbours_;
  // Bridge and address -> port.
  std::map<std::pair<std::uint32_t, Mac>, std::uint32_t> forwarding_;
};

}  // namespace sluice::agent
