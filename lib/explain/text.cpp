// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

#include "lib/base/protocol.h"
#include "lib/policy/icmp_types.h"

namespace sluice::explain {
namespace {

struct ReasonInfo {
  std::string_view text;
  bool allows;
};

#define SLUICE_VERDICT_IS_ALLOW true
#define SLUICE_VERDICT_IS_DENY false
constexpr std::array kReasons{
#define SLUICE_X(name, verdict, text) \
  ReasonInfo{text, SLUICE_VERDICT_IS_##verdict},
    SLUICE_REASONS(SLUICE_X)
#undef SLUICE_X
};
#undef SLUICE_VERDICT_IS_ALLOW
#undef SLUICE_VERDICT_IS_DENY

constexpr std::uint32_t kPortBits = 16;

}  // namespace

std::string_view reason_text(std::uint32_t reason) {
  return reason < kReasons.size() ? kReasons[reason].text : "unknown reason";
}

bool reason_allows(std::uint32_t reason) {
  return reason < kReasons.size() && kReasons[reason].allows;
}

std::string_view direction_text(std::uint32_t direction) {
  if (direction == SLUICE_QUESTION) {
    return "dns question";
  }
  return direction == SLUICE_EGRESS ? "egress" : "ingress";
}

std::string_view verdict_text(std::uint32_t verdict) {
  if (verdict == SLUICE_VERDICT_ALLOW) {
    return "allow";
  }
  return verdict == SLUICE_VERDICT_DENY ? "deny" : "none";
}

std::string protocol_text(std::uint8_t protocol) {
  const auto name = protocol_name(protocol);
  return name.empty() ? std::to_string(protocol) : std::string(name);
}

std::string_view builtin_rule_text(std::uint32_t rule) {
  switch (rule) {
    case SLUICE_RULE_DEFAULT_DENY_INGRESS:
      return "default deny at ingress";
    case SLUICE_RULE_DEFAULT_DENY_EGRESS:
      return "default deny at egress";
    case SLUICE_RULE_DEFAULT_ALLOW:
      return "not isolated";
    case SLUICE_RULE_LOCAL_NODE:
      return "own node";
    case SLUICE_RULE_SELF:
      return "the pod itself";
    default:
      return "";
  }
}

std::string l4_text(const sluice_policy_key& key) {
  if (key.direction == SLUICE_QUESTION) {
    return "list " + std::to_string(key.protocol);
  }
  if (key.prefixlen < SLUICE_PREFIX_PROTOCOL) {
    return "any";
  }
  auto name = protocol_text(key.protocol);
  const auto bits = std::min<std::uint32_t>(
      key.prefixlen - SLUICE_PREFIX_PROTOCOL, kPortBits);
  if (bits == 0) {
    return name;
  }
  const std::uint32_t span = (1U << (kPortBits - bits)) - 1;
  std::uint32_t first = ntohs(key.port) & ~span;
  std::uint32_t last = first | span;
  std::string prefix;
  if (is_icmp(key.protocol) && bits <= 8) {
    prefix = "type ";
    first >>= 8;
    last >>= 8;
  } else if (is_icmp(key.protocol)) {
    prefix = "type ";
    prefix += std::to_string(first >> 8);
    prefix += " code ";
    first &= 0xff;
    last &= 0xff;
  }
  auto text = prefix + std::to_string(first);
  if (last != first) {
    text += '-';
    text += std::to_string(last);
  }
  text += '/';
  text += name;
  return text;
}

namespace {

// The name of a built-in rule, which no policy has.
std::string in_parentheses(std::uint32_t rule) {
  const auto text = builtin_rule_text(rule);
  return text.empty() ? std::string() : " (" + std::string(text) + ")";
}

}  // namespace

std::string entry_text(const sluice_policy_key& key,
                       const sluice_policy_value& value) {
  const bool name = (key.cidr_id & SLUICE_CIDR_NAME) != 0;
  return (name ? "name " : "class ") + std::to_string(key.cidr_id) + " " +
         std::string(direction_text(key.direction)) + " " + l4_text(key) +
         " -> " + std::string(verdict_text(value.verdict)) + " rule " +
         std::to_string(value.rule) + in_parentheses(value.rule);
}

namespace {

std::optional<std::uint8_t> protocol_number(std::string_view text) {
  const std::string name(text);
  const auto* found =
      std::ranges::find_if(kProtocolNames, [&](const ProtocolName& protocol) {
        return ::strcasecmp(protocol.name, name.c_str()) == 0;
      });
  return found == kProtocolNames.end() ? std::nullopt
                                       : std::optional(found->number);
}

std::optional<std::uint16_t> port_number(std::string_view text) {
  std::uint16_t number = 0;
  const char* begin = text.data();
  const char* end = begin + text.size();
  const auto parsed = std::from_chars(begin, end, number);
  return parsed.ec == std::errc{} && parsed.ptr == end ? std::optional(number)
                                                       : std::nullopt;
}

}  // namespace

Result<PortText> split_port(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) {
    return PortText{.protocol = std::nullopt, .port = text};
  }
  const auto left = text.substr(0, slash);
  const auto right = text.substr(slash + 1);
  if (const auto protocol = protocol_number(right)) {
    return PortText{.protocol = protocol, .port = left};
  }
  if (const auto protocol = protocol_number(left)) {
    return PortText{.protocol = protocol, .port = right};
  }
  return fail("port \"" + std::string(text) +
              "\": the protocol is TCP, UDP, SCTP, ICMP or ICMPv6");
}

Result<PortArgument> parse_port(std::string_view text) {
  const auto halves = split_port(text);
  if (!halves) {
    return std::unexpected(halves.error());
  }
  PortArgument argument{.protocol = halves->protocol.value_or(IPPROTO_TCP),
                        .port = 0};
  const bool icmp = is_icmp(argument.protocol);
  if (icmp) {
    if (const auto type = policy::icmp_type(
            halves->port, argument.protocol == IPPROTO_ICMPV6)) {
      argument.port = static_cast<std::uint16_t>(*type << 8U);
      return argument;
    }
  } else if (const auto number = port_number(halves->port)) {
    argument.port = *number;
    return argument;
  }
  return fail("port \"" + std::string(text) + "\": must be " +
              (icmp ? "a type of 0 to 255 or its name, as in 8/ICMP or "
                      "EchoRequest/ICMP"
                    : "a number of 0 to 65535, as in 80/TCP"));
}

}  // namespace sluice::explain
