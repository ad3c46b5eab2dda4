// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/parse_l4.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <netinet/in.h>
#include <nlohmann/json.hpp>

#include "lib/base/sequence.h"
#include "lib/kube/port_name.h"
#include "lib/policy/icmp_types.h"

namespace sluice::policy {
namespace {

constexpr std::uint16_t kMaxPort = 65535;
constexpr std::int64_t kMaxIcmpType = 255;
constexpr std::array<std::uint8_t, 3> kTransports{IPPROTO_TCP, IPPROTO_UDP,
                                                  IPPROTO_SCTP};

// A port as Cilium reads it: a leading zero means octal.
std::optional<std::uint16_t> parse_port_number(std::string_view text) {
  const int base = text.size() > 1 && text.front() == '0' ? 8 : 10;
  std::uint16_t number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

// 0 = any of the three. nullopt if there is a problem.
std::optional<std::uint8_t> read_cilium_protocol(const Field& port,
                                                 Problems& problems) {
  const auto field = port.get("protocol");
  if (!field) {
    return 0;
  }
  const auto* text = kube::as_string(*field, problems);
  if (text == nullptr) {
    return std::nullopt;
  }
  if (*text == "ANY") {
    return 0;
  }
  if (const auto protocol = transport(*text)) {
    return protocol;
  }
  constexpr std::array<std::string_view, 7> kExtended{
      "VRRP", "IGMP", "GRE", "IPIP", "IPV6", "ESP", "AH"};
  if (std::ranges::find(kExtended, *text) != kExtended.end()) {
    problems.add(*field, "protocol " + in_quotes(*text) + " is not supported");
  } else {
    problems.add(*field,
                 "must be TCP, UDP, SCTP or ANY, is " + in_quotes(*text));
  }
  return std::nullopt;
}

std::optional<bool> read_family_is_v6(const Field& field, Problems& problems) {
  const auto family = field.get("family");
  if (!family) {
    return false;
  }
  const auto* text = kube::as_string(*family, problems);
  if (text == nullptr) {
    return std::nullopt;
  }
  if (*text == "IPv4" || *text == "IPv6") {
    return *text == "IPv6";
  }
  problems.add(*family, "must be IPv4 or IPv6, is " + in_quotes(*text));
  return std::nullopt;
}

std::optional<std::int64_t> read_icmp_type(const Field& type, bool v6,
                                           Problems& problems) {
  if (const auto* text = type.value().get_ptr<const std::string*>()) {
    const auto number = icmp_type(*text, v6);
    if (!number) {
      problems.add(type, "not an ICMP type of " +
                             std::string(v6 ? "IPv6" : "IPv4") + ": " +
                             in_quotes(*text));
    }
    return number;
  }
  if (!type.value().is_number_integer()) {
    problems.add(type, "must be a number or a name, is " +
                           std::string(kube::type_name(type.value())));
    return std::nullopt;
  }
  return kube::as_int(type, 0, INT32_MAX, problems);
}

}  // namespace

std::string to_lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return result;
}

void add_ports(std::uint8_t protocol, std::uint16_t first, std::uint16_t last,
               L4& out) {
  for (const std::uint8_t transport_protocol : kTransports) {
    if (protocol == 0 || protocol == transport_protocol) {
      out.ranges.push_back(
          {.protocol = transport_protocol, .first = first, .last = last});
    }
  }
}

std::optional<std::uint8_t> transport(std::string_view name) {
  if (name == "TCP") {
    return IPPROTO_TCP;
  }
  if (name == "UDP") {
    return IPPROTO_UDP;
  }
  if (name == "SCTP") {
    return IPPROTO_SCTP;
  }
  return std::nullopt;
}

void parse_cilium_port(const Field& port, L4& out, ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(port, problems)) {
    return;
  }
  kube::only(port, {"port", "endPort", "protocol"}, problems);
  const auto protocol = read_cilium_protocol(port, problems);
  std::uint16_t end_port = 0;
  if (const auto field = port.get("endPort")) {
    end_port = static_cast<std::uint16_t>(
        kube::as_int(*field, 0, kMaxPort, problems).value_or(0));
  }
  const auto field = port.get("port");
  if (!field) {
    problems.add(port, "port must be specified");
    return;
  }
  const auto* text = kube::as_string(*field, problems);
  if (text == nullptr || !protocol) {
    return;
  }
  if (text->empty()) {
    problems.add(*field, "port must be specified");
  } else if (auto name = to_lower(*text); kube::is_port_name(name)) {
    out.named.push_back(
        {.name = std::move(name), .protocol = *protocol, .end_port = end_port});
  } else if (const auto number = parse_port_number(*text)) {
    // 0 alone stands for every port; a range may begin with it.
    const std::uint16_t alone = *number == 0 ? kMaxPort : *number;
    add_ports(*protocol, *number, end_port > *number ? end_port : alone, out);
  } else {
    problems.add(*field, "unable to parse port " + in_quotes(*text));
  }
}

void parse_icmp_field(const Field& field, L4& out, ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return;
  }
  kube::only(field, {"family", "type"}, problems);
  const auto v6 = read_family_is_v6(field, problems);
  const auto type = require(field, "type", problems);
  if (!v6 || !type) {
    return;
  }
  const auto number = read_icmp_type(*type, *v6, problems);
  if (!number) {
    return;
  }
  if (*number > kMaxIcmpType) {
    context.warn(*type, "no packet has ICMP type " + std::to_string(*number) +
                            ": matches nothing");
    return;
  }
  const auto first = static_cast<std::uint16_t>(*number << 8);
  const std::uint8_t protocol =
      *v6 ? std::uint8_t{IPPROTO_ICMPV6} : std::uint8_t{IPPROTO_ICMP};
  out.ranges.push_back({.protocol = protocol,
                        .first = first,
                        .last = static_cast<std::uint16_t>(first | 0xff)});
}

void normalise(L4& l4) {
  sort_unique(l4.ranges);
  sort_unique(l4.named);
}

}  // namespace sluice::policy
