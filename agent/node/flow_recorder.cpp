// SPDX-License-Identifier: Apache-2.0
#include "agent/node/flow_recorder.h"

#include <algorithm>
#include <ctime>
#include <span>
#include <string_view>
#include <utility>

#include <arpa/inet.h>
#include <sys/socket.h>

#include "agent/node/policy_name.h"

namespace sluice::node {
namespace {

constexpr std::chrono::seconds kPatience{1};
constexpr std::size_t kWaitingMax = 16'384;
constexpr std::size_t kDecisionsMax = 65'536;
constexpr std::size_t kNamedMax = 16'384;
constexpr std::int64_t kSecondNs = 1'000'000'000;

std::int64_t now_ns(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return (std::int64_t{time.tv_sec} * kSecondNs) + time.tv_nsec;
}

IpAddress address_of(std::span<const __u8, 16> bytes, bool v6) {
  IpAddress address;
  std::copy_n(bytes.begin(), v6 ? 16 : 4, address.bytes.begin());
  address.v6 = v6;
  return address;
}

flow::Record record_of(const sluice_flow_event& event) {
  const bool v6 = event.family == AF_INET6;
  flow::Record record;
  record.time = now_ns(CLOCK_REALTIME) - now_ns(CLOCK_MONOTONIC) +
                static_cast<std::int64_t>(event.timestamp_ns);
  record.ip = event.family != 0;
  if (record.ip) {
    const auto origin = address_of(event.origin, v6);
    record.source =
        origin == IpAddress{.v6 = v6} ? address_of(event.saddr, v6) : origin;
    record.destination = address_of(event.daddr, v6);
    record.protocol = event.protocol;
    record.tcp_flags = event.tcp_flags;
    record.source_port = ntohs(event.sport);
    record.destination_port = ntohs(event.dport);
  }
  record.direction = event.direction;
  record.reason = event.reason;
  record.allowed = event.verdict == SLUICE_VERDICT_ALLOW;
  record.reply = event.reason == SLUICE_REASON_REPLY_OF_DENIED;
  record.ifindex = event.ifindex;
  return record;
}

const Ends::End& nobody() {
  static const auto end = std::make_shared<const flow::End>();
  return end;
}

}  // namespace

FlowRecorder::FlowRecorder(flow::Store& store, Ends& ends, const Names& names,
                           Endpoints endpoints, flow::FlowCounts* counts)
    : store_(&store),
      counts_(counts),
      ends_(&ends),
      names_(&names),
      endpoints_(std::move(endpoints)) {}

std::shared_ptr<const flow::Decision> FlowRecorder::decision_of(
    const sluice_flow_event& event) {
  const bool isolated = event.reason == SLUICE_REASON_DEFAULT_DENY;
  const std::uint32_t set = isolated ? SLUICE_POLICY_SET(event.policy_id) : 0;
  const DecisionKey key = (DecisionKey{set} << 32U) | event.rule;
  const auto found = decisions_.find(key);
  if (found != decisions_.end()) {
    return found->second;
  }
  flow::Decision decision;
  if (const auto* rule = names_->rule(event.rule)) {
    decision.policies.push_back(policy_name(rule->policy));
    decision.path = rule->path;
    decision.log = rule->log_value;
  }
  const auto* info = isolated ? names_->set(set) : nullptr;
  if (info != nullptr && event.direction < info->isolating.size()) {
    for (const auto& policy : info->isolating[event.direction]) {
      decision.policies.push_back(policy_name(policy));
    }
  }
  if (decisions_.size() >= kDecisionsMax) {
    decisions_.clear();
  }
  return decisions_
      .emplace(key, std::make_shared<const flow::Decision>(std::move(decision)))
      .first->second;
}

Ends::End FlowRecorder::find_end(const flow::Record& record,
                                 const IpAddress& address, bool remote,
                                 Clock::time_point now) {
  auto end = ends_->find(address, now);
  if (!end || !remote || !end->pod.empty()) {
    return end;
  }
  return named(record, address, std::move(end));
}

// The end with its DNS names, shared by the flows to it.
Ends::End FlowRecorder::named(const flow::Record& record,
                              const IpAddress& address, Ends::End end) {
  auto names = endpoints_.names_of(record.ifindex, address);
  if (names.empty()) {
    return end;
  }
  if (named_.size() >= kNamedMax) {
    named_.clear();
  }
  Named& known = named_[{record.ifindex, address}];
  if (known.plain != end || known.end->names != names) {
    flow::End with_names = *end;
    with_names.names = std::move(names);
    known = {.plain = std::move(end),
             .end = std::make_shared<const flow::End>(std::move(with_names))};
  }
  return known.end;
}

// Nobody has told who the ends are, but for the endpoint, which is the node's.
void FlowRecorder::give_up(flow::Record& record) const {
  const bool egress = record.direction == SLUICE_EGRESS;
  auto& local = egress ? record.from : record.to;
  if (!local) {
    const auto name = endpoints_.name(record.ifindex);
    const auto slash = name.find('/');
    if (slash != std::string::npos) {
      local = std::make_shared<const flow::End>(flow::End{
          .ns = name.substr(0, slash), .pod = name.substr(slash + 1)});
    }
  }
  for (auto* end : {&record.from, &record.to}) {
    if (!*end) {
      *end = nobody();
    }
  }
}

bool FlowRecorder::find_ends(flow::Record& record, Clock::time_point now) {
  if (!record.ip) {
    record.from = nobody();
    record.to = nobody();
    return true;
  }
  const bool egress = record.direction == SLUICE_EGRESS;
  if (!record.from) {
    record.from = find_end(record, record.source, !egress, now);
  }
  if (!record.to) {
    record.to = find_end(record, record.destination, egress, now);
  }
  return record.from && record.to;
}

void FlowRecorder::on_event(const sluice_flow_event& event,
                            Clock::time_point now) {
  auto record = record_of(event);
  record.decision = decision_of(event);
  store(std::move(record), now);
}

void FlowRecorder::on_traffic(flow::Record record, std::uint32_t rule,
                              Clock::time_point now) {
  sluice_flow_event event{};
  event.rule = rule;
  event.reason = record.reason;
  record.decision = decision_of(event);
  record.time = now_ns(CLOCK_REALTIME);
  store(std::move(record), now);
}

void FlowRecorder::on_lost(std::uint64_t events, Clock::time_point now) {
  const auto time = now_ns(CLOCK_REALTIME);
  const auto since = std::exchange(lost_since_, time);
  if (events == 0) {
    return;
  }
  flow::Record record;
  record.time = time;
  record.lost = events;
  record.lost_since = since;
  record.decision = std::make_shared<const flow::Decision>();
  store(std::move(record), now);
}

void FlowRecorder::store(flow::Record record, Clock::time_point now) {
  const bool complete = find_ends(record, now);
  if (complete && waiting_.empty()) {
    keep(std::move(record));
    return;
  }
  waiting_.push_back({.record = std::move(record), .until = now + kPatience});
  if (waiting_.size() > kWaitingMax) {
    turn(waiting_.front().until);
  }
}

void FlowRecorder::keep(flow::Record record) {
  if (counts_ != nullptr) {
    counts_->add(record);
  }
  store_->add(std::move(record));
}

void FlowRecorder::turn(Clock::time_point now) {
  ends_->turn();
  while (!waiting_.empty()) {
    auto& [record, until] = waiting_.front();
    if (!find_ends(record, now)) {
      if (now < until) {
        return;
      }
      give_up(record);
    }
    keep(std::move(record));
    waiting_.pop_front();
  }
}

}  // namespace sluice::node
