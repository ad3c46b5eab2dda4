// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/figures.h"

#include <algorithm>
#include <cstddef>
#include <set>

#include "lib/flow/time.h"

namespace sluice::flow {
namespace {

constexpr std::size_t kBatch = 1024;
// Of one in a message, beside its name: tags and sizes.
constexpr std::size_t kNamespaceBytes = 8;
constexpr std::int64_t kRatePeriod = 60 * kSecond;
constexpr std::int64_t kRatePeriodMin = kSecond / 1000;

// Flows per second over the last minute, or as far back as the store reaches
// if it has overwritten flows since.
double rate_of(const Store& store, std::int64_t time) {
  const auto counters = store.counters();
  auto period = kRatePeriod;
  const auto oldest = store.read(store.first(), 1);
  if (counters.seen > counters.flows && !oldest.records.empty()) {
    period = std::clamp(time - oldest.records[0].time, kRatePeriodMin, period);
  }
  const auto recent = store.next() - store.since(time - period);
  return static_cast<double>(recent) * kSecond / static_cast<double>(period);
}

}  // namespace

::observer::ServerStatusResponse status_of(const Store& store,
                                           const std::string& version,
                                           std::int64_t started) {
  ::observer::ServerStatusResponse response;
  const auto counters = store.counters();
  response.set_num_flows(counters.flows);
  response.set_max_flows(counters.capacity);
  response.set_seen_flows(counters.seen);
  response.set_uptime_ns(static_cast<std::uint64_t>(now() - started));
  response.mutable_num_connected_nodes()->set_value(1);
  response.mutable_num_unavailable_nodes()->set_value(0);
  response.set_version(version);
  response.set_flows_rate(rate_of(store, now()));
  return response;
}

::observer::GetNamespacesResponse namespaces_of(const Store& store) {
  std::set<std::string> seen;
  std::uint64_t from = store.first();
  while (true) {
    const auto read = store.read(from, kBatch);
    for (const auto& record : read.records) {
      for (const auto* end : {record.from.get(), record.to.get()}) {
        if (!end->ns.empty()) {
          seen.insert(end->ns);
        }
      }
    }
    from = read.next;
    if (read.records.empty()) {
      break;
    }
  }
  ::observer::GetNamespacesResponse response;
  std::size_t bytes = 0;
  for (const auto& name : seen) {
    bytes += name.size() + kNamespaceBytes;
    if (bytes > kNamespacesBytesMax) {
      break;
    }
    response.add_namespaces()->set_namespace_(name);
  }
  return response;
}

}  // namespace sluice::flow
