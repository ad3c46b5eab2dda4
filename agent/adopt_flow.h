// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include <linux/netlink.h>
#include <linux/types.h>

#include "lib/base/ip.h"

namespace sluice::agent {

// One direction of a flow as the kernel's connection tracking sees it before
// it translates a packet.
struct FlowTuple {
  IpAddress source;
  IpAddress destination;
  __be16 source_port = 0;  // ICMP: the identifier, in both
  __be16 destination_port = 0;
};

// A flow of the kernel's connection tracking. `reply` is not the reverse of
// `original` where addresses are translated: its source is whom the packets of
// the original direction reach, its destination the source that they get.
struct TrackedFlow {
  std::uint8_t protocol = 0;  // IPPROTO_*
  FlowTuple original;
  FlowTuple reply;
  std::uint32_t status = 0;    // IPS_*
  std::uint8_t state = 0;      // TCP_CONNTRACK_*, SCTP_CONNTRACK_*
  std::uint8_t icmp_type = 0;  // of the original direction
  // IP_CT_TCP_FLAG_*, of the original direction and of the reply's.
  std::array<std::uint8_t, 2> tcp_flags{};
};

// What a message of ctnetlink says; nullopt if it is none of a flow.
std::optional<TrackedFlow> parse_tracked_flow(const nlmsghdr& header);

}  // namespace sluice::agent
