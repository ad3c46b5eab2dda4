// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/ends.h"

#include <algorithm>
#include <utility>

#include <netinet/in.h>

#include "lib/base/protocol.h"
#include "lib/dns/name.h"
#include "lib/dns/pattern.h"

namespace sluice::explain {
namespace {

bool fits(const IpAddress& address, std::uint8_t protocol) {
  return !is_icmp(protocol) || address.v6 == (protocol == IPPROTO_ICMPV6);
}

}  // namespace

std::string port_text(const PortArgument& port) {
  const int number = is_icmp(port.protocol) ? port.port >> 8 : port.port;
  return std::to_string(number) + "/" + protocol_text(port.protocol);
}

Result<ExplainView> explain_ends(const ExplainEnd& from, const ExplainEnd& to,
                                 const PortArgument& port,
                                 const DescribeSide& describe) {
  ExplainView view{.from = from.text,
                   .to = to.text,
                   .port = port_text(port),
                   .allowed = true,
                   .summary = {},
                   .sides = {}};
  const auto add = [&](const ExplainEnd& end, sluice_direction direction,
                       const IpAddress& own, const IpAddress& peer) {
    SideView side;
    side.direction = direction_text(direction);
    side.endpoint = end.text;
    side.peer = to_string(peer);
    describe(view, std::move(side), direction, own, peer);
  };
  for (const auto& source : from.ips) {
    for (const auto& destination : to.ips) {
      if (source.v6 == destination.v6 && fits(source, port.protocol)) {
        add(from, SLUICE_EGRESS, source, destination);
        add(to, SLUICE_INGRESS, destination, source);
      }
    }
  }
  if (view.sides.empty()) {
    return fail("sender and receiver have no address family in common that " +
                protocol_text(port.protocol) + " goes over");
  }
  view.allowed = std::ranges::all_of(view.sides, &SideView::allowed);
  return view;
}

void set_verdict(SideView& side, bool allowed, sluice_reason reason,
                 const RuleInfo* rule,
                 const std::optional<PolicyEntry>& entry) {
  side.judged = true;
  side.allowed = allowed;
  side.reason = reason_text(reason);
  if (rule != nullptr) {
    side.policy = rule->policy;
    side.path = rule->path;
  }
  if (entry) {
    side.policy_id = SLUICE_POLICY_ID(entry->key.policy_id, 0);
    side.entry = entry_text(entry->key, entry->value);
  }
}

void set_pattern(SideView& side, const std::string& pattern) {
  const auto parsed = dns::NamePattern::match_pattern(pattern);
  if (!parsed) {
    return;
  }
  side.pattern = pattern;
  for (const auto& text : side.names) {
    if (const auto name = dns::Name::from_text(text);
        name && parsed->matches(*name)) {
      side.matched.push_back(text);
    }
  }
}

void add_near_misses(SideView& side, std::vector<policy::NearMiss> misses) {
  for (auto& miss : misses) {
    side.near_misses.push_back({.policy = std::move(miss.rule.policy),
                                .path = std::move(miss.rule.path),
                                .action = std::move(miss.rule.action),
                                .differs = std::move(miss.differs),
                                .detail = std::move(miss.detail)});
  }
}

std::string pod_at(const std::string& pod, const IpAddress& address) {
  return pod + " (" + to_string(address) + ")";
}

}  // namespace sluice::explain
