// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/flow_counts.h"

#include <functional>
#include <string_view>

namespace sluice::flow {
namespace {

constexpr std::size_t kPairsMax = 50;
// Until they are folded; of each of both.
constexpr std::size_t kPendingMax = 4'096;

std::string name_of(const End& end) {
  constexpr std::string_view kReserved = "reserved:";
  for (const auto* name : {&end.workload, &end.pod, &end.service}) {
    if (!name->empty()) {
      return *name;
    }
  }
  for (const auto& label : end.labels) {
    if (label.starts_with(kReserved)) {
      return label.substr(kReserved.size());
    }
  }
  return "unknown";
}

std::string text_of(const PolicyName& policy) {
  std::string text = policy.kind;
  for (const auto* part : {&policy.ns, &policy.name}) {
    if (!part->empty()) {
      text += "/" + *part;
    }
  }
  return text;
}

std::size_t mixed(const void* first, const void* second, std::size_t third) {
  constexpr std::size_t kOdd = 0x9e37'79b9'7f4a'7c15;
  const std::hash<const void*> hash;
  std::size_t value = hash(first);
  value = (value ^ (value >> 32U)) * kOdd + hash(second);
  value = (value ^ (value >> 32U)) * kOdd + third;
  return value ^ (value >> 32U);
}

}  // namespace

std::size_t FlowCounts::Hash::operator()(const Decided& key) const {
  return mixed(key.end, key.decision,
               (std::size_t{key.direction} << 9U) |
                   (std::size_t{key.reason} << 1U) |
                   static_cast<std::size_t>(key.allowed));
}

std::size_t FlowCounts::Hash::operator()(const Ends& key) const {
  return mixed(key.from, key.to, 0);
}

FlowCounts::FlowCounts(std::size_t series_max)
    : counts_(series_max > 0),
      workloads_(series_max),
      rules_(series_max),
      pairs_(kPairsMax) {}

void FlowCounts::add(const Record& record) {
  if (!counts_ || record.lost > 0 || record.traffic) {
    return;
  }
  if (decided_.size() >= kPendingMax || denied_.size() >= kPendingMax) {
    fold(Clock::now());
  }
  const auto& end = record.direction == SLUICE_EGRESS ? record.from : record.to;
  auto& decided = decided_[{.end = end.get(),
                            .decision = record.decision.get(),
                            .direction = record.direction,
                            .reason = record.reason,
                            .allowed = record.allowed}];
  if (decided.flows++ == 0) {
    decided.end = end;
    decided.decision = record.decision;
  }
  if (record.allowed) {
    return;
  }
  auto& denied = denied_[{.from = record.from.get(), .to = record.to.get()}];
  if (denied.flows++ == 0) {
    denied.from = record.from;
    denied.to = record.to;
  }
}

void FlowCounts::fold_rules(const Decided& key, const OfDecided& value,
                            Clock::time_point now) {
  for (const auto& policy : value.decision->policies) {
    rules_.add({.policy = text_of(policy),
                .path = value.decision->path,
                .direction = key.direction,
                .allowed = key.allowed},
               value.flows, now);
  }
}

void FlowCounts::fold(Clock::time_point now) {
  for (const auto& [key, value] : decided_) {
    workloads_.add({.ns = value.end->ns,
                    .name = name_of(*value.end),
                    .direction = key.direction,
                    .reason = key.reason,
                    .allowed = key.allowed},
                   value.flows, now);
    fold_rules(key, value, now);
  }
  decided_.clear();
  for (const auto& [key, value] : denied_) {
    pairs_.add({.source_ns = value.from->ns,
                .source = name_of(*value.from),
                .destination_ns = value.to->ns,
                .destination = name_of(*value.to)},
               value.flows);
  }
  denied_.clear();
}

void FlowCounts::turn(Clock::time_point now) {
  fold(now);
  pairs_.turn(now);
}

FlowCounts::View FlowCounts::view() const {
  return {.workloads = workloads_.view(),
          .rules = rules_.view(),
          .denied = pairs_.view()};
}

}  // namespace sluice::flow
