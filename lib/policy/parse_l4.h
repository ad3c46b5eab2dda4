// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/policy/parse_context.h"
#include "lib/policy/rule.h"

// Internal to the parsers: ports, protocols, ICMP types.
namespace sluice::policy {

std::string to_lower(std::string_view text);

// Ports of TCP, UDP or SCTP; `protocol` 0 = all three.
void add_ports(std::uint8_t protocol, std::uint16_t first, std::uint16_t last,
               L4& out);
// IPPROTO_* of "TCP", "UDP", "SCTP".
std::optional<std::uint8_t> transport(std::string_view name);

// CiliumNetworkPolicy's toPorts[].ports[].
void parse_cilium_port(const Field& port, L4& out, ParseContext& context);
// CiliumNetworkPolicy's icmps[].fields[].
void parse_icmp_field(const Field& field, L4& out, ParseContext& context);

// Sorts and removes duplicates.
void normalise(L4& l4);

}  // namespace sluice::policy
