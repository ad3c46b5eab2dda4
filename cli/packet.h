// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lib/base/ip.h"

namespace sluice::cli {

struct PacketSpec {
  IpAddress from;
  IpAddress to;
  std::uint8_t protocol = 6;
  std::uint16_t port = 0;  // destination; ICMP: type << 8 | code
  // What makes the flow a new one: source port, or ICMP identifier.
  std::uint16_t number = 0;
};

// The Ethernet frame of a flow's first packet. Checksums are zero: the datapath
// does not look at them. nullopt for ICMP in IPv6 and ICMPv6 in IPv4.
std::optional<std::vector<std::uint8_t>> first_packet(const PacketSpec& spec);

}  // namespace sluice::cli
