// SPDX-License-Identifier: Apache-2.0
#include "agent/node/flow.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <span>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "lib/base/protocol.h"
#include "lib/explain/text.h"

namespace sluice::node {
namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;

std::int64_t now_ns(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return (std::int64_t{time.tv_sec} * kSecondNs) + time.tv_nsec;
}

// A time of CLOCK_MONOTONIC as RFC 3339 in UTC, with microseconds.
std::string wall_time(std::uint64_t monotonic_ns) {
  const auto ns = now_ns(CLOCK_REALTIME) - now_ns(CLOCK_MONOTONIC) +
                  static_cast<std::int64_t>(monotonic_ns);
  const std::time_t seconds = ns / kSecondNs;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> date{};
  std::strftime(date.data(), date.size(), "%FT%T", &parts);
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%s.%06dZ", date.data(),
                static_cast<int>(ns % kSecondNs / 1000));
  return text.data();
}

IpAddress address_of(std::span<const __u8, 16> bytes, bool v6) {
  IpAddress address;
  std::copy_n(bytes.begin(), v6 ? 16 : 4, address.bytes.begin());
  address.v6 = v6;
  return address;
}

std::string hex(unsigned value) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "0x%04x", value);
  return text.data();
}

std::string state_text(const sluice_conntrack& entry) {
  if ((entry.state & SLUICE_CT_RESET) != 0) {
    return "reset";
  }
  const bool fin_in = (entry.state & SLUICE_CT_FIN_INGRESS) != 0;
  const bool fin_out = (entry.state & SLUICE_CT_FIN_EGRESS) != 0;
  if (fin_in || fin_out) {
    return fin_in && fin_out ? "closed" : "closing";
  }
  return (entry.state & SLUICE_CT_REPLIED) != 0 ? "replied" : "new";
}

std::string origin_text(const agent::ConntrackEntry& entry) {
  if (entry.origin) {
    return to_string(*entry.origin);
  }
  if ((entry.value.state & SLUICE_CT_FROM_NODE) != 0) {
    return "own node";
  }
  constexpr int kHidden = SLUICE_CT_MASQUERADED | SLUICE_CT_UNTRACED;
  return (entry.value.state & kHidden) != 0 ? "unknown" : "";
}

void add_addresses(FlowView& view, const sluice_flow_event& event,
                   const NameOf& name_of) {
  if (event.family == 0) {
    view.protocol = "ethertype " + hex(ntohs(event.ethertype));
    return;
  }
  const bool v6 = event.family == AF_INET6;
  const auto from = address_of(event.saddr, v6);
  const auto to = address_of(event.daddr, v6);
  view.from = to_string(from);
  view.to = to_string(to);
  view.from_name = name_of(from);
  const auto origin = address_of(event.origin, v6);
  if (origin != IpAddress{.v6 = v6}) {
    view.origin = to_string(origin);
    view.origin_name = name_of(origin);
  }
  view.to_name = name_of(to);
  view.protocol = explain::protocol_text(event.protocol);
  const auto port = ntohs(event.dport);
  if (is_icmp(event.protocol)) {
    view.icmp = "type " + std::to_string(port >> 8) + " code " +
                std::to_string(port & 0xff);
  } else {
    view.source_port = ntohs(event.sport);
    view.port = port;
  }
}

}  // namespace

FlowView make_flow(const sluice_flow_event& event, const std::string& endpoint,
                   const Names& names, const NameOf& name_of) {
  FlowView view;
  view.time = wall_time(event.timestamp_ns);
  view.verdict = event.verdict == SLUICE_VERDICT_ALLOW ? "allowed" : "denied";
  view.reason = explain::reason_text(event.reason);
  view.direction = explain::direction_text(event.direction);
  view.endpoint =
      endpoint.empty() ? "ifindex " + std::to_string(event.ifindex) : endpoint;
  view.rule = names.text_of(event.rule);
  view.rule_id = event.rule;
  view.policy_id = event.policy_id;
  view.cidr_id = event.cidr_id;
  view.length = event.length;
  add_addresses(view, event, name_of);
  if (const auto* rule = names.rule(event.rule)) {
    view.policy = rule->policy;
    view.path = rule->path;
    view.log = rule->log_value;
  }
  if (event.reason == SLUICE_REASON_DEFAULT_DENY) {
    const auto* set = names.set(SLUICE_POLICY_SET(event.policy_id));
    if (set != nullptr && event.direction < set->isolating.size()) {
      view.isolating = set->isolating[event.direction];
    }
  }
  return view;
}

ConntrackView make_conntrack(const agent::ConntrackEntry& entry,
                             const std::string& endpoint, std::uint32_t epoch,
                             const Names& names, const NameOf& name_of) {
  const auto& value = entry.value;
  const bool echo = is_icmp(entry.protocol);
  ConntrackView view{
      .endpoint = endpoint,
      .ifindex = entry.ifindex,
      .protocol = explain::protocol_text(entry.protocol),
      .direction = std::string(explain::direction_text(value.opened_by)),
      .remote = to_string(entry.remote),
      .remote_name = name_of(entry.remote),
      .local_port = echo ? 0U : entry.local_port,
      .remote_port = echo ? 0U : entry.remote_port,
      .echo_id = echo ? entry.local_port : 0U,
      .state = state_text(value),
      .reason = std::string(explain::reason_text(value.reason)),
      .rule = names.text_of(value.rule),
      .rule_id = value.rule,
      .policy = {},
      .epoch = value.epoch,
      .current = value.epoch == epoch,
      .packets_ingress = value.packets[SLUICE_INGRESS],
      .packets_egress = value.packets[SLUICE_EGRESS],
      .bytes_ingress = value.bytes[SLUICE_INGRESS],
      .bytes_egress = value.bytes[SLUICE_EGRESS]};
  if (const auto* rule = names.rule(value.rule)) {
    view.policy = rule->policy + " " + rule->path;
  }
  view.origin = origin_text(entry);
  if (entry.origin) {
    view.origin_name = name_of(*entry.origin);
  }
  return view;
}

}  // namespace sluice::node
