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
// translation.
struct FlowTuple {
  IpAddress source;
  IpAddress destination;
  __be16 source_port = 0;  // ICMP: the identifier, in both
  __be16 destination_port = 0;
};

// A flow of the kernel's connection tracking. If addresses are translated,
// `reply` is not the reverse of `original`: its source is the receiver of the
// original direction's packets, and its destination is the source that these
// packets get.
struct TrackedFlow {
  std::uint8_t protocol = 0;  // IPPROTO_*
  FlowTuple original;
  FlowTuple reply;
  std::uint32_t status = 0;    // IPS_*
  std::uint8_t state = 0;      // TCP_CONNTRACK_*, SCTP_CONNTRACK_*
  std::uint8_t icmp_type = 0;  // of the original direction
  // IP_CT_TCP_FLAG_* of the original direction and of the reply direction.
  std::array<std::uint8_t, 2> tcp_flags{};
};

// Parses a message of ctnetlink; nullopt if it is not about a flow.
std::optional<TrackedFlow> parse_tracked_flow(const nlmsghdr& header);

}  // namespace sluice::agent
