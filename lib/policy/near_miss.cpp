// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/near_miss.h"

#include <algorithm>

#include <netinet/in.h>

#include "lib/base/protocol.h"

namespace sluice::policy {
namespace {

constexpr std::size_t kMostNearMisses = 5;

std::string protocol_text(std::uint8_t protocol) {
  const auto name = protocol_name(protocol);
  return name.empty() ? "protocol " + std::to_string(protocol)
                      : std::string(name);
}

std::string text(std::uint8_t protocol, std::uint16_t first,
                 std::uint16_t last) {
  if (first == 0 && last == 65535) {
    return "any " + protocol_text(protocol) +
           (is_icmp(protocol) ? " type" : " port");
  }
  if (is_icmp(protocol)) {
    const int last_type = last >> 8;
    return protocol_text(protocol) + " type " + std::to_string(first >> 8) +
           (last_type == first >> 8 ? "" : "-" + std::to_string(last_type));
  }
  auto result = std::to_string(first);
  if (last != first) {
    result += "-" + std::to_string(last);
  }
  return result + "/" + protocol_text(protocol);
}

std::string text(const Candidate& l4) {
  if (l4.any_l4) {
    return "every protocol";
  }
  if (l4.ranges.empty()) {
    return "nothing (its named port is not one of the pod's)";
  }
  std::string result;
  for (const auto& range : l4.ranges) {
    if (!result.empty()) {
      result += ", ";
    }
    result += text(range.protocol, range.first, range.last);
  }
  return result;
}

bool names_protocol(const Candidate& l4, std::uint8_t protocol) {
  return std::ranges::any_of(l4.ranges, [&](const PortRange& range) {
    return range.protocol == protocol;
  });
}

}  // namespace

bool covers(const Candidate& l4, std::uint8_t protocol, std::uint16_t port) {
  return l4.any_l4 ||
         std::ranges::any_of(l4.ranges, [&](const PortRange& range) {
           return range.protocol == protocol && range.first <= port &&
                  port <= range.last;
         });
}

std::optional<NearMiss> near_miss(const Candidate& l4, bool selects_peer,
                                  const Packet& packet, bool allowed) {
  const bool deny = l4.action == Action::kDeny;
  if (l4.action == Action::kPass || deny != allowed) {
    return std::nullopt;
  }
  const bool covers_port = covers(l4, packet.protocol, packet.port);
  if (selects_peer == covers_port) {
    return std::nullopt;
  }
  const std::string verb = deny ? "denies " : "allows ";
  const auto asked = text(packet.protocol, packet.port, packet.port);
  if (covers_port) {
    return NearMiss{.rule = {},
                    .differs = "peer",
                    .detail = verb + asked + ", but does not select " +
                              to_string(packet.peer)};
  }
  const bool other_port =
      l4.ranges.empty() || names_protocol(l4, packet.protocol);
  return NearMiss{
      .rule = {},
      .differs = other_port ? "port" : "protocol",
      .detail = verb + text(l4) +
                (packet.direction == Direction::kEgress ? " to" : " from") +
                " this peer, asked " + asked};
}

void keep_nearest(std::vector<NearMiss>& misses) {
  std::ranges::stable_sort(misses, [](const auto& a, const auto& b) {
    return (a.differs == "peer") < (b.differs == "peer");
  });
  if (misses.size() > kMostNearMisses) {
    misses.resize(kMostNearMisses);
  }
}

}  // namespace sluice::policy
