// SPDX-License-Identifier: Apache-2.0
// A probe of a scenario: its ends, its port, and the verdicts it must get.
#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "cli/scenario_reader.h"
#include "lib/kube/port_name.h"

namespace sluice::cli {
namespace {

using nlohmann::json;

constexpr int kIcmp = 1;
constexpr int kIcmpV6 = 58;

struct ProtocolName {
  std::string_view name;
  std::uint8_t number;
  bool has_ports;
};
constexpr std::array kProtocols{
    ProtocolName{"TCP", 6, true},           ProtocolName{"UDP", 17, true},
    ProtocolName{"SCTP", 132, true},        ProtocolName{"ICMP", kIcmp, false},
    ProtocolName{"ICMPv6", kIcmpV6, false}, ProtocolName{"IGMP", 2, false},
    ProtocolName{"IPIP", 4, false},         ProtocolName{"GRE", 47, false},
    ProtocolName{"ESP", 50, false},         ProtocolName{"AH", 51, false},
};

constexpr std::array kEntities{
    std::string_view("host"),           std::string_view("remote-node"),
    std::string_view("health"),         std::string_view("init"),
    std::string_view("unmanaged"),      std::string_view("ingress"),
    std::string_view("kube-apiserver"), std::string_view("world-ipv4"),
    std::string_view("world-ipv6"),
};
// As for the fields of a scenario.
constexpr std::array kProbeFields{
    std::string_view("from"),     std::string_view("to"),
    std::string_view("protocol"), std::string_view("port"),
    std::string_view("icmpType"), std::string_view("icmpCode"),
    std::string_view("egress"),   std::string_view("ingress"),
    std::string_view("verdict"),  std::string_view("note"),
    std::string_view("judge"),    std::string_view("class"),
    std::string_view("right"),
};

std::optional<int> number_of(std::string_view text) {
  int result = 0;
  const char* begin = text.data();
  const char* end = begin + text.size();
  const auto [stop, error] = std::from_chars(begin, end, result);
  if (error != std::errc{} || stop != end) {
    return std::nullopt;
  }
  return result;
}

Result<int> number_in(const json& value, int most, const char* key) {
  if (!value.is_number_integer() || value < 0 || value > most) {
    return fail(std::string(key) + ": not a number from 0 to " +
                std::to_string(most));
  }
  return value.get<int>();
}

const ProtocolName* find_protocol(std::string_view name) {
  const auto* const it =
      std::ranges::find(kProtocols, name, &ProtocolName::name);
  return it == kProtocols.end() ? nullptr : it;
}

bool has_ports(int protocol) {
  return std::ranges::any_of(kProtocols, [&](const auto& p) {
    return p.number == protocol && p.has_ports;
  });
}

Result<std::uint8_t> protocol_of(const json& value) {
  if (value.is_string()) {
    if (const auto* protocol = find_protocol(value.get<std::string>())) {
      return protocol->number;
    }
    return fail("protocol: unknown: " + value.get<std::string>());
  }
  const auto number = number_in(value, 255, "protocol");
  if (!number) {
    return std::unexpected(number.error());
  }
  return static_cast<std::uint8_t>(*number);
}

}  // namespace

Result<ProbeEnd> parse_end(const json& probe, const char* key) {
  const json* value = member(probe, key);
  if (value == nullptr || !value->is_object() || value->size() != 1 ||
      !value->begin()->is_string()) {
    return fail(std::string(key) +
                ": not one of {pod: ns/name}, {service: ns/name}, "
                "{ip: address}, {entity: name}");
  }
  const std::string kind = value->begin().key();
  ProbeEnd end;
  end.name = value->begin()->get<std::string>();
  const std::string where = std::string(key) + "." + kind + ": ";
  if (kind == "pod" || kind == "service") {
    const auto slash = end.name.find('/');
    if (slash == 0 || slash == std::string::npos ||
        slash + 1 == end.name.size()) {
      return fail(where + "not namespace/name: " + end.name);
    }
    end.kind = kind == "pod" ? ProbeEnd::Kind::kPod : ProbeEnd::Kind::kService;
    return end;
  }
  if (kind == "ip") {
    const auto ip = parse_ip(end.name);
    if (!ip) {
      return fail(where + "not an address: " + end.name);
    }
    end.kind = ProbeEnd::Kind::kIp;
    end.ip = *ip;
    return end;
  }
  if (kind != "entity") {
    return fail(where + "unknown field");
  }
  if (std::ranges::find(kEntities, end.name) == kEntities.end()) {
    return fail(where + "unknown entity: " + end.name);
  }
  end.kind = ProbeEnd::Kind::kEntity;
  return end;
}

namespace {

Result<std::optional<Verdict>> parse_verdict(const json& probe,
                                             const char* key) {
  const json* value = member(probe, key);
  if (value == nullptr) {
    return std::nullopt;
  }
  for (const auto verdict : {Verdict::kAllow, Verdict::kDeny, Verdict::kNone}) {
    if (value->is_string() && *value == to_string(verdict)) {
      return verdict;
    }
  }
  return fail(std::string(key) + ": not allow, deny or none");
}

Result<std::optional<bool>> parse_whole(const json& probe) {
  const json* value = member(probe, "verdict");
  if (value == nullptr) {
    return std::nullopt;
  }
  if (*value != "allow" && *value != "deny") {
    return fail("verdict: not allow or deny");
  }
  return *value == "allow";
}

// The numbers of "80" and "8000-8010"; the second is 0 for the first.
std::optional<std::pair<std::uint16_t, std::uint16_t>> parse_range(
    std::string_view text) {
  constexpr int kMost = 65535;
  const auto dash = text.find('-');
  const auto first = number_of(text.substr(0, dash));
  const auto last = dash == std::string_view::npos
                        ? std::optional(0)
                        : number_of(text.substr(dash + 1));
  if (!first || !last || *first < 0 || *first > kMost || *last > kMost ||
      (dash != std::string_view::npos && (*first == 0 || *last < *first))) {
    return std::nullopt;
  }
  return std::pair(static_cast<std::uint16_t>(*first),
                   static_cast<std::uint16_t>(*last));
}

// port: 80 | "80" | "80/TCP" | "8000-8010" | http | "http/TCP"; a protocol in
// it is the probe's.
Result<void> parse_port(const json& value, bool protocol_named, Probe& probe) {
  std::string text;
  auto slash = std::string::npos;
  if (value.is_string()) {
    text = value.get<std::string>();
    slash = text.find('/');
    if (slash != std::string::npos) {
      const auto* protocol =
          find_protocol(std::string_view(text).substr(slash + 1));
      if (protocol == nullptr ||
          (protocol_named && protocol->number != probe.protocol)) {
        return fail("port: unknown or contradictory protocol: " + text);
      }
      probe.protocol = protocol->number;
      text.resize(slash);
    }
  } else if (value.is_number_integer()) {
    text = value.dump();
  }
  if (!has_ports(probe.protocol)) {
    return fail("port: the protocol has no ports");
  }
  if (const auto range = parse_range(text)) {
    std::tie(probe.port, probe.last_port) = *range;
    return {};
  }
  if (!kube::is_port_name(text)) {
    return fail(
        "port: neither a number from 0 to 65535, nor a range as in 8000-8010, "
        "nor the name of a port");
  }
  if (probe.to.kind != ProbeEnd::Kind::kPod &&
      probe.to.kind != ProbeEnd::Kind::kService) {
    return fail("port: only ports of pods and Services have names");
  }
  probe.any_protocol = !protocol_named && slash == std::string::npos;
  probe.port_name = std::move(text);
  return {};
}

Result<void> parse_icmp(const json& json_probe, const json& type,
                        Probe& probe) {
  if (probe.protocol != kIcmp && probe.protocol != kIcmpV6) {
    return fail("icmpType: the protocol is not ICMP or ICMPv6");
  }
  const auto number = number_in(type, 255, "icmpType");
  if (!number) {
    return std::unexpected(number.error());
  }
  int code = 0;
  if (const json* value = member(json_probe, "icmpCode")) {
    const auto parsed = number_in(*value, 255, "icmpCode");
    if (!parsed) {
      return std::unexpected(parsed.error());
    }
    code = *parsed;
  }
  probe.port = static_cast<std::uint16_t>(*number << 8 | code);
  return {};
}

Result<void> parse_l4(const json& json_probe, Probe& probe) {
  const json* protocol = member(json_probe, "protocol");
  const json* port = member(json_probe, "port");
  const json* type = member(json_probe, "icmpType");
  if (protocol != nullptr) {
    const auto number = protocol_of(*protocol);
    if (!number) {
      return std::unexpected(number.error());
    }
    probe.protocol = *number;
  } else if (type != nullptr) {
    probe.protocol = kIcmp;
  }
  if (port != nullptr && type != nullptr) {
    return fail("port: not together with icmpType");
  }
  if (port != nullptr) {
    return parse_port(*port, protocol != nullptr, probe);
  }
  if (type != nullptr) {
    return parse_icmp(json_probe, *type, probe);
  }
  if (has_ports(probe.protocol)) {
    return fail("port: missing");
  }
  if (probe.protocol == kIcmp || probe.protocol == kIcmpV6) {
    return fail("icmpType: missing");
  }
  return {};
}

}  // namespace

Result<Probe> parse_probe(const json& json_probe) {
  if (!json_probe.is_object()) {
    return fail("not an object");
  }
  if (auto known = only_known(json_probe, kProbeFields); !known) {
    return std::unexpected(known.error());
  }
  Probe probe;
  auto from = parse_end(json_probe, "from");
  auto to = parse_end(json_probe, "to");
  auto egress = parse_verdict(json_probe, "egress");
  auto ingress = parse_verdict(json_probe, "ingress");
  auto whole = parse_whole(json_probe);
  for (const Error* error :
       {from ? nullptr : &from.error(), to ? nullptr : &to.error(),
        egress ? nullptr : &egress.error(),
        ingress ? nullptr : &ingress.error(),
        whole ? nullptr : &whole.error()}) {
    if (error != nullptr) {
      return std::unexpected(*error);
    }
  }
  probe.from = std::move(*from);
  probe.to = std::move(*to);
  probe.egress = *egress;
  probe.ingress = *ingress;
  probe.allowed = *whole;
  if (probe.from.kind == ProbeEnd::Kind::kService) {
    return fail("from.service: a Service sends nothing");
  }
  if (auto l4 = parse_l4(json_probe, probe); !l4) {
    return std::unexpected(l4.error());
  }
  return probe;
}

std::string to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAllow:
      return "allow";
    case Verdict::kDeny:
      return "deny";
    case Verdict::kNone:
      return "none";
  }
  std::unreachable();
}

std::string to_string(const Probe& probe) {
  const auto* const protocol =
      std::ranges::find(kProtocols, probe.protocol, &ProtocolName::number);
  const std::string name = protocol == kProtocols.end()
                               ? "protocol " + std::to_string(probe.protocol)
                               : std::string(protocol->name);
  std::string result = probe.from.name + " -> " + probe.to.name + " ";
  if (!probe.port_name.empty()) {
    return result + probe.port_name + (probe.any_protocol ? "" : "/" + name);
  }
  if (has_ports(probe.protocol)) {
    const auto last =
        probe.last_port == 0 ? "" : "-" + std::to_string(probe.last_port);
    return result + std::to_string(probe.port) + last + "/" + name;
  }
  if (probe.protocol != kIcmp && probe.protocol != kIcmpV6) {
    return result + name;
  }
  result += name + " type " + std::to_string(probe.port >> 8);
  return (probe.port & 0xff) == 0
             ? result
             : result + " code " + std::to_string(probe.port & 0xff);
}

}  // namespace sluice::cli
