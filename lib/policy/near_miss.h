// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/ip.h"
#include "lib/policy/l4_tree.h"
#include "lib/policy/rule.h"
#include "sluice/state.h"

// Rules that would have decided otherwise but for one thing. Both the
// translator, which has the rules, and an agent, which has only the entries
// that they became, describe near misses by these functions.
namespace sluice::policy {

// A packet in question, at one end.
struct Packet {
  Direction direction = Direction::kIngress;
  IpAddress peer;
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;  // destination port; ICMP: type << 8 | code
};

struct NearMiss {
  RuleInfo rule;
  std::string differs;  // "port", "protocol" or "peer"
  std::string detail;   // "allows 443/TCP to this peer, asked 80/TCP"
  bool operator==(const NearMiss&) const = default;
};

// True if the rule's protocols and ports include those of the packet.
bool covers(const Candidate& l4, std::uint8_t protocol, std::uint16_t port);

// Returns what a rule lacks; the caller sets `rule`. nullopt if the rule
// matches, if it lacks both the peer and the port, or if it would give the
// verdict that the packet got. `l4` has the action, protocols and ports of the
// rule, with named ports resolved.
std::optional<NearMiss> near_miss(const Candidate& l4, bool selects_peer,
                                  const Packet& packet, bool allowed);

// Puts the nearest first and keeps the first few: the right peer on another
// port is nearer than the right port from another peer.
void keep_nearest(std::vector<NearMiss>& misses);

}  // namespace sluice::policy
