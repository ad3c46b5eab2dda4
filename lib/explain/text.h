// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "sluice/abi.h"

// Converts numbers of the kernel boundary to the words that users see, and
// back.
namespace sluice::explain {

std::string_view reason_text(std::uint32_t reason);
bool reason_allows(std::uint32_t reason);
std::string_view direction_text(std::uint32_t direction);
std::string_view verdict_text(std::uint32_t verdict);
// "TCP", "ICMPv6", "47".
std::string protocol_text(std::uint8_t protocol);
// Returns the meaning of a built-in rule id; empty for others.
std::string_view builtin_rule_text(std::uint32_t rule);
// Ports of a policy key: "80/TCP", "80-95/TCP", "type 8/ICMP", "TCP", "any".
std::string l4_text(const sluice_policy_key& key);
// The key's and the value's fields: "policy 3 class 7 egress 80/TCP -> allow".
std::string entry_text(const sluice_policy_key& key,
                       const sluice_policy_value& value);

struct PortArgument {
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;  // ICMP: type << 8
};
// "80/TCP", "80" (TCP), "8/ICMP" (type 8).
Result<PortArgument> parse_port(std::string_view text);

}  // namespace sluice::explain
