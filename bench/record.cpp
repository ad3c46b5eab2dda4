// SPDX-License-Identifier: Apache-2.0
//
// What a flow event costs an agent: to become a record of the store, and to be
// counted for the metrics (`counted` 1). The budget is 3 µs for both. And what
// a line of the export costs, beside it.
//
//   pods      flows of 110 pods with 110 other pods
//   outside   denied packets from ever other addresses outside, where 16
//             policies isolate the pod
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "agent/node/flow_recorder.h"
#include "lib/flow/cursor.h"
#include "lib/flow/message_json.h"

namespace {

using namespace sluice;
using namespace sluice::node;

constexpr std::uint32_t kPods = 110;
constexpr std::uint32_t kSet = 7;
constexpr std::size_t kAddresses = 60'000;

IpAddress address(std::uint32_t number) {
  IpAddress result;
  const std::uint32_t bytes = htonl(0x0a00'0000U + number);
  std::copy_n(reinterpret_cast<const std::uint8_t*>(&bytes), 4,
              result.bytes.begin());
  return result;
}

State policies() {
  State state;
  for (std::uint32_t i = 0; i < kPods; ++i) {
    state.rules.push_back({.id = SLUICE_RULE_FIRST + i,
                           .policy = "NetworkPolicy/shop/p" + std::to_string(i),
                           .path = "spec.egress[0]",
                           .action = "allow",
                           .log_value = {}});
  }
  PolicySetInfo set{.id = kSet, .policies = {}, .isolating = {}, .problem = {}};
  for (int i = 0; i < 16; ++i) {
    set.isolating[SLUICE_INGRESS].push_back("NetworkPolicy/shop/i" +
                                            std::to_string(i));
  }
  state.sets.push_back(set);
  return state;
}

sluice_flow_event event(std::uint32_t from, std::uint32_t to) {
  sluice_flow_event event{};
  event.ifindex = 3;
  event.family = AF_INET;
  event.protocol = IPPROTO_TCP;
  event.dport = htons(443);
  std::ranges::copy_n(address(from).bytes.begin(), 4, event.saddr);
  std::ranges::copy_n(address(to).bytes.begin(), 4, event.daddr);
  event.policy_id = SLUICE_POLICY_ID(kSet, 1);
  return event;
}

std::vector<sluice_flow_event> events(bool outside) {
  std::vector<sluice_flow_event> result;
  for (std::uint32_t i = 0; i < kAddresses; ++i) {
    auto each = outside ? event(1'000 + i, i % kPods)
                        : event(i % kPods, kPods + ((i / 7) % kPods));
    each.direction = outside ? SLUICE_INGRESS : SLUICE_EGRESS;
    each.verdict = outside ? SLUICE_VERDICT_DENY : SLUICE_VERDICT_ALLOW;
    each.reason =
        outside ? SLUICE_REASON_DEFAULT_DENY : SLUICE_REASON_POLICY_ALLOW;
    each.rule = outside ? 0 : SLUICE_RULE_FIRST + (i % kPods);
    result.push_back(each);
  }
  return result;
}

void learn(Ends& ends, Ends::Clock::time_point now) {
  for (std::uint32_t i = 0; i < 2 * kPods; ++i) {
    sluice::flow::End end;
    end.ns = "shop";
    end.pod = "web-" + std::to_string(i);
    end.workload = "web-" + std::to_string(i / 4);
    end.labels = {"k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop"};
    ends.learn(address(i), end, now);
  }
  for (std::uint32_t i = 0; i < kAddresses; ++i) {
    sluice::flow::End end;
    end.labels = {"reserved:world"};
    end.identity = 2;
    ends.learn(address(1'000 + i), end, now);
  }
}

void record(benchmark::State& state, bool outside) {
  const auto now = Ends::Clock::now();
  Ends ends([](const auto&) { return true; });
  learn(ends, now);
  const Names names(policies());
  sluice::flow::Store store(65'536, 1);
  sluice::flow::FlowCounts counts(state.range(0) == 0 ? 0 : 256);
  FlowRecorder recorder(
      store, ends, names,
      {.name = [](std::uint32_t) { return std::string(); },
       .names_of = [](std::uint32_t,
                      const IpAddress&) { return std::vector<std::string>(); }},
      &counts);
  const auto all = events(outside);
  std::size_t next = 0;
  for (auto unused : state) {
    (void)unused;
    recorder.on_event(all[next], now);
    // A second's flows at 10,000 per second.
    if (++next % 10'000 == 0) {
      counts.turn(Ends::Clock::now());
      next %= all.size();
    }
  }
}

// A line of the export, which a thread of its own makes.
void export_line(benchmark::State& state) {
  const auto now = Ends::Clock::now();
  Ends ends([](const auto&) { return true; });
  learn(ends, now);
  const Names names(policies());
  sluice::flow::Store store(65'536, 1);
  FlowRecorder recorder(store, ends, names,
                        {.name = [](std::uint32_t) { return std::string(); },
                         .names_of =
                             [](std::uint32_t, const IpAddress&) {
                               return std::vector<std::string>();
                             }});
  for (const auto& each : events(false)) {
    recorder.on_event(each, now);
  }
  const ::observer::GetFlowsRequest all;
  auto cursor = sluice::flow::FlowCursor::open(store, all, "node1");
  ::observer::GetFlowsResponse response;
  std::size_t bytes = 0;
  for (auto unused : state) {
    (void)unused;
    if (cursor->next(response) == sluice::flow::FlowCursor::Step::kEnd) {
      cursor = sluice::flow::FlowCursor::open(store, all, "node1");
      continue;
    }
    bytes += sluice::flow::to_json(response).size();
  }
  state.counters["bytes"] = benchmark::Counter(
      static_cast<double>(bytes), benchmark::Counter::kAvgIterations);
}

}  // namespace

BENCHMARK(export_line);
BENCHMARK_CAPTURE(record, pods, false)->ArgName("counted")->Arg(0)->Arg(1);
BENCHMARK_CAPTURE(record, outside, true)->ArgName("counted")->Arg(0)->Arg(1);

BENCHMARK_MAIN();
