// SPDX-License-Identifier: Apache-2.0
#include "agent/node/long_flows.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include <netinet/in.h>

#include "lib/explain/text.h"

namespace sluice::node {
namespace {

using agent::ConntrackEntry;

// In the order in which the agent sorts them.
auto key_of(const ConntrackEntry& entry) {
  return std::tuple(entry.ifindex, entry.remote, entry.protocol,
                    entry.local_port, entry.remote_port);
}

std::uint64_t packets_of(const ConntrackEntry& entry) {
  return entry.value.packets[0] + entry.value.packets[1];
}

std::uint64_t bytes_of(const ConntrackEntry& entry) {
  return entry.value.bytes[0] + entry.value.bytes[1];
}

bool is_closed(const ConntrackEntry& entry) {
  constexpr unsigned kFins = SLUICE_CT_FIN_INGRESS | SLUICE_CT_FIN_EGRESS;
  const unsigned state = entry.value.state;
  return (state & SLUICE_CT_RESET) != 0 || (state & kFins) == kFins;
}

}  // namespace

void LongFlows::compare(const Known& before, Known& now,
                        std::vector<Report>& reports) {
  if (packets_of(now.entry) < packets_of(before.entry)) {
    return;  // a new flow with the same ports
  }
  const bool active = packets_of(now.entry) > packets_of(before.entry);
  const bool idle = !active && now.entry.protocol != IPPROTO_TCP;
  if (is_closed(now.entry) || idle) {
    now.open = false;
    if (before.open) {
      reports.push_back({.entry = now.entry, .ended = true});
    }
    return;
  }
  now.open = before.open || active;
  if (active) {
    reports.push_back({.entry = now.entry, .ended = false});
  }
}

std::vector<LongFlows::Report> LongFlows::read(
    const std::vector<ConntrackEntry>& entries, std::size_t max) {
  std::vector<Report> reports;
  std::vector<Known> known;
  known.reserve(entries.size());
  auto before = known_.begin();
  const auto gone = [&] {
    if (before->open) {
      reports.push_back({.entry = before->entry, .ended = true});
    }
    ++before;
  };
  for (const auto& entry : entries) {
    while (before != known_.end() && key_of(before->entry) < key_of(entry)) {
      gone();
    }
    known.push_back({.entry = entry, .open = true});
    auto& now = known.back();
    if (before != known_.end() && key_of(before->entry) == key_of(now.entry)) {
      compare(*before++, now, reports);
    } else {
      now.open = !is_closed(now.entry);
    }
  }
  while (before != known_.end()) {
    gone();
  }
  known_ = std::move(known);
  if (reports.size() > max) {
    std::ranges::nth_element(
        reports, reports.begin() + static_cast<std::ptrdiff_t>(max), {},
        [](const Report& report) {
          return std::pair(!report.ended, ~bytes_of(report.entry));
        });
    reports.resize(max);
  }
  return reports;
}

std::optional<flow::Record> traffic_record(const LongFlows::Report& report,
                                           const IpAddress& local) {
  const auto& entry = report.entry;
  const auto& value = entry.value;
  if ((entry.protocol != IPPROTO_TCP && entry.protocol != IPPROTO_UDP &&
       entry.protocol != IPPROTO_SCTP) ||
      !explain::reason_allows(value.reason)) {
    return std::nullopt;
  }
  const bool egress = value.opened_by == SLUICE_EGRESS;
  const auto remote = entry.origin.value_or(entry.remote);
  flow::Record record;
  record.ip = true;
  record.allowed = true;
  record.protocol = entry.protocol;
  record.direction = value.opened_by;
  record.reason = value.reason;
  record.ifindex = entry.ifindex;
  record.source = egress ? local : remote;
  record.destination = egress ? remote : local;
  record.source_port = egress ? entry.local_port : entry.remote_port;
  record.destination_port = egress ? entry.remote_port : entry.local_port;
  flow::Traffic traffic{.packets = {}, .bytes = {}, .ended = report.ended};
  for (const int direction : {SLUICE_INGRESS, SLUICE_EGRESS}) {
    traffic.packets.at(static_cast<std::size_t>(direction)) =
        value.packets[direction];
    traffic.bytes.at(static_cast<std::size_t>(direction)) =
        value.bytes[direction];
  }
  record.traffic = std::make_shared<const flow::Traffic>(traffic);
  return record;
}

}  // namespace sluice::node
