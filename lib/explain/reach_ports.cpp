// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/reach_ports.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

#include "lib/base/protocol.h"
#include "lib/base/suggestion.h"

namespace sluice::explain {
namespace {

constexpr std::uint32_t kPortBits = 16;

// The last port, or ICMP type, of a protocol.
std::uint16_t last_of(std::uint8_t protocol) {
  return is_icmp(protocol) ? 0xff : 0xffff;
}

// The order of columns: that of kProtocolNames.
std::size_t rank(std::uint8_t protocol) {
  return static_cast<std::size_t>(
      std::ranges::find(kProtocolNames, protocol, &ProtocolName::number) -
      kProtocolNames.begin());
}

bool is_number(std::string_view text) {
  return std::ranges::all_of(
      text, [](unsigned char c) { return std::isdigit(c) != 0; });
}

}  // namespace

PortArgument ReachPorts::argument() const {
  return {.protocol = protocol,
          .port = static_cast<std::uint16_t>(is_icmp(protocol) ? first << 8U
                                                               : first)};
}

ReachPort ReachPorts::view() const {
  const auto slash = "/" + protocol_text(protocol);
  const auto asked = std::to_string(first) + slash;
  if (other) {
    return {.name = "other" + slash, .asked = asked};
  }
  return {.name = last == first ? asked
                                : std::to_string(first) + "-" +
                                      std::to_string(last) + slash,
          .asked = asked};
}

std::set<ReachPortCollector::Range>* ReachPortCollector::ranges_of(
    std::uint8_t protocol) {
  if (protocol_name(protocol).empty()) {
    return nullptr;  // nobody can ask about it
  }
  const auto found =
      std::ranges::find(protocols_, protocol, &OfProtocol::protocol);
  return &(found == protocols_.end() ? protocols_.emplace_back(OfProtocol{
                                           .protocol = protocol, .ranges = {}})
                                     : *found)
              .ranges;
}

void ReachPortCollector::add(const sluice_policy_key& key) {
  if (key.direction == SLUICE_QUESTION ||
      key.prefixlen < SLUICE_PREFIX_PROTOCOL) {
    return;
  }
  auto* ranges = ranges_of(key.protocol);
  const std::uint32_t bits = key.prefixlen - SLUICE_PREFIX_PROTOCOL;
  if (ranges == nullptr || bits == 0) {
    return;
  }
  const std::uint32_t span = (1U << (kPortBits - bits)) - 1;
  const std::uint32_t first = ntohs(key.port) & ~span;
  const int shift = is_icmp(key.protocol) ? 8 : 0;
  ranges->insert({.first = static_cast<std::uint16_t>(first >> shift),
                  .last = static_cast<std::uint16_t>((first | span) >> shift)});
}

void ReachPortCollector::add(const kube::ContainerPort& port) {
  if (auto* ranges = ranges_of(port.protocol)) {
    ranges->insert({.first = port.port, .last = port.port});
  }
}

void ReachPortCollector::add(const ReachPortCollector& other) {
  for (const auto& of : other.protocols_) {
    if (auto* ranges = ranges_of(of.protocol)) {
      ranges->insert(of.ranges.begin(), of.ranges.end());
    }
  }
}

void ReachPortCollector::add_pieces(const OfProtocol& of,
                                    std::vector<ReachPorts>& pieces) {
  // By port, by how much the number of ranges grows there.
  std::map<std::uint32_t, int> cuts;
  for (const auto& [first, last] : of.ranges) {
    ++cuts[first];
    --cuts[std::uint32_t{last} + 1];
  }
  std::optional<std::uint32_t> unnamed;
  std::uint32_t next = 0;
  int depth = 0;
  const auto cover = [&](std::uint32_t end) {  // from `next` to before `end`
    if (next < end && depth > 0) {
      pieces.push_back({.protocol = of.protocol,
                        .first = static_cast<std::uint16_t>(next),
                        .last = static_cast<std::uint16_t>(end - 1),
                        .other = false});
    } else if (next < end && unnamed.value_or(0) == 0) {
      // No connection goes to port 0, if there is another.
      unnamed = next == 0 && end > 1 && !is_icmp(of.protocol) ? 1 : next;
    }
    next = end;
  };
  for (const auto& [cut, growth] : cuts) {
    cover(cut);
    depth += growth;
  }
  cover(std::uint32_t{last_of(of.protocol)} + 1);
  if (unnamed) {
    const auto port = static_cast<std::uint16_t>(*unnamed);
    pieces.push_back(
        {.protocol = of.protocol, .first = port, .last = port, .other = true});
  }
}

std::vector<ReachPorts> ReachPortCollector::pieces() const {
  auto protocols = protocols_;
  for (const std::uint8_t always : {IPPROTO_TCP, IPPROTO_UDP}) {
    if (std::ranges::find(protocols, always, &OfProtocol::protocol) ==
        protocols.end()) {
      protocols.push_back({.protocol = always, .ranges = {}});
    }
  }
  std::ranges::sort(protocols, {},
                    [](const OfProtocol& of) { return rank(of.protocol); });
  std::vector<ReachPorts> pieces;
  for (const auto& of : protocols) {
    add_pieces(of, pieces);
  }
  return pieces;
}

namespace {

// The ports to which containers give the name.
Result<std::vector<ReachPorts>> named_ports(
    const std::string& text, const PortText& halves,
    const std::vector<const kube::Pod*>& pods) {
  const std::string name(halves.port);
  std::set<std::pair<std::uint8_t, std::uint16_t>> found;
  std::set<std::string> known;
  for (const auto* pod : pods) {
    for (const auto& port : pod->ports) {
      if (halves.protocol.value_or(port.protocol) != port.protocol) {
        continue;
      }
      known.insert(port.name);
      if (::strcasecmp(port.name.c_str(), name.c_str()) == 0) {
        found.emplace(port.protocol, port.port);
      }
    }
  }
  if (found.empty()) {
    return fail("--port: \"" + text +
                "\": no pod has a port of this name, and a number is written "
                "as in 80/TCP" +
                did_you_mean(name, {known.begin(), known.end()}));
  }
  std::vector<ReachPorts> ports;
  ports.reserve(found.size());
  for (const auto& [protocol, port] : found) {
    ports.push_back(
        {.protocol = protocol, .first = port, .last = port, .other = false});
  }
  return ports;
}

Result<std::vector<ReachPorts>> ports_of(
    const std::string& text, const std::vector<const kube::Pod*>& pods) {
  if (const auto port = parse_port(text)) {
    const auto first = static_cast<std::uint16_t>(
        is_icmp(port->protocol) ? port->port >> 8 : port->port);
    return std::vector{ReachPorts{.protocol = port->protocol,
                                  .first = first,
                                  .last = first,
                                  .other = false}};
  }
  const auto halves = split_port(text);
  if (!halves || halves->port.empty() || is_number(halves->port) ||
      is_icmp(halves->protocol.value_or(0))) {
    return fail("--port: " + parse_port(text).error().message);
  }
  return named_ports(text, *halves, pods);
}

}  // namespace

Result<std::vector<ReachPorts>> parse_reach_ports(
    const std::vector<std::string>& texts,
    const std::vector<const kube::Pod*>& pods) {
  std::vector<ReachPorts> result;
  for (const auto& text : texts) {
    const auto found = ports_of(text, pods);
    if (!found) {
      return std::unexpected(found.error());
    }
    for (const auto& ports : *found) {
      if (std::ranges::none_of(result, [&](const ReachPorts& other) {
            return other.protocol == ports.protocol &&
                   other.first == ports.first;
          })) {
        result.push_back(ports);
      }
    }
  }
  return result;
}

}  // namespace sluice::explain
