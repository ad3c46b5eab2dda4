// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>

#include <netinet/in.h>

namespace sluice {

struct ProtocolName {
  std::uint8_t number = 0;
  const char* name = "";
};

// The protocols that policies can name, as users write them.
inline constexpr std::array kProtocolNames{
    ProtocolName{IPPROTO_TCP, "TCP"},       ProtocolName{IPPROTO_UDP, "UDP"},
    ProtocolName{IPPROTO_SCTP, "SCTP"},     ProtocolName{IPPROTO_ICMP, "ICMP"},
    ProtocolName{IPPROTO_ICMPV6, "ICMPv6"},
};

// Empty for every other protocol.
constexpr std::string_view protocol_name(std::uint8_t protocol) {
  const auto* found =
      std::ranges::find(kProtocolNames, protocol, &ProtocolName::number);
  return found == kProtocolNames.end() ? std::string_view() : found->name;
}

// True for the protocol of either family.
constexpr bool is_icmp(std::uint8_t protocol) {
  return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6;
}

}  // namespace sluice
