// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
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
// The fields of key and value but for the policy id: "class 7 egress 80/TCP ->
// allow".
std::string entry_text(const sluice_policy_key& key,
                       const sluice_policy_value& value);

struct PortArgument {
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;  // ICMP: type << 8
};
// The two halves of "80/TCP", "tcp/80", "http" and the like.
struct PortText {
  std::optional<std::uint8_t> protocol;  // if one is named
  std::string_view port;                 // a part of the given text
};
// Fails if neither half of two is a protocol.
Result<PortText> split_port(std::string_view text);
// "80/TCP", "tcp/80", "80" (TCP), "8/ICMP" (type 8), "EchoRequest/ICMP".
Result<PortArgument> parse_port(std::string_view text);

}  // namespace sluice::explain
