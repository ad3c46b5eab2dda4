// SPDX-License-Identifier: Apache-2.0
//
// What a request for flows of a cluster costs the operator: of 1,000 nodes with
// 1,000 flows each, the last N, all that match a filter of few, and the first
// 100,000. Nodes are stores in this process; what they compute is not counted,
// because in a cluster each has a machine of its own.
//
//   operator_ms   computing time of the operator, for the whole request
//   nodes_ms      of all nodes together
//   flows         that nodes have sent, for those that the client gets
//   kB            the same in bytes
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>
#include <google/protobuf/text_format.h>
#include <netinet/in.h>

#include "lib/flow/cluster_reader.h"
#include "lib/flow/cursor.h"
#include "lib/flow/store.h"

namespace {

using namespace sluice;
using namespace sluice::flow;
using Clock = std::chrono::steady_clock;

constexpr int kNodes = 1'000;
constexpr int kFlows = 1'000;  // of each node

struct Node {
  std::string name;
  Store store{kFlows, 1};
  std::optional<FlowCursor> cursor;
  std::uint64_t id = 0;
  std::uint32_t batch_bytes = 0;
  bool wanted = false;

  void take(const NodeCommand& command) {
    if (command.cancel) {
      cursor.reset();
      wanted = false;
      return;
    }
    wanted = true;
    if (command.request) {
      ::observer::GetFlowsRequest request;
      request.ParseFromString(command.request->request);
      id = command.id;
      batch_bytes = command.request->batch_bytes;
      cursor.emplace(std::move(*FlowCursor::open(store, request, name)));
    }
  }
  wire::FlowBatch give() {
    wire::FlowBatch batch;
    batch.id = id;
    wanted = false;
    std::size_t bytes = 0;
    ::observer::GetFlowsResponse response;
    while (bytes < batch_bytes &&
           batch.items.size() < wire::kFlowBatchItemsMax) {
      if (cursor->next(response) != FlowCursor::Step::kMessage) {
        batch.last = true;
        break;
      }
      batch.items.push_back(
          {.time = (response.time().seconds() * std::int64_t{1'000'000'000}) +
                   response.time().nanos(),
           .message = response.SerializeAsString()});
      bytes += batch.items.back().message.size();
    }
    return batch;
  }
};

struct Nodes {
  Nodes() {
    const auto end = [](const char* pod) {
      return std::make_shared<const End>(
          End{.ns = "shop",
              .pod = pod,
              .workload = "web",
              .workload_kind = "Deployment",
              .labels = {"k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop",
                         "k8s:pod-template-hash=5d4f8c7b6", "k8s:tier=front"}});
    };
    const auto from = end("web-5d4f8c7b6-abcde");
    const auto to = end("db-0");
    const auto decision = std::make_shared<const Decision>(
        Decision{.policies = {{.kind = "CiliumNetworkPolicy",
                               .ns = "shop",
                               .name = "p"}},
                 .path = "spec.ingress[0]",
                 .log = {}});
    for (int i = 0; i < kNodes; ++i) {
      auto& node = nodes["node-" + std::to_string(1'000 + i)];
      node = std::make_unique<Node>();
      node->name = "node-" + std::to_string(1'000 + i);
      views[node->name] = {.state = NodeState::kConnected, .generation = 1};
      for (int k = 0; k < kFlows; ++k) {
        Record record;
        record.time = (k * std::int64_t{1'000'000}) + i;
        record.ip = true;
        record.protocol = IPPROTO_TCP;
        record.destination_port = 443;
        record.source_port = static_cast<std::uint16_t>(k);
        record.allowed = k % 100 != 7;
        record.from = from;
        record.to = to;
        record.decision = decision;
        node->store.add(std::move(record));
      }
    }
  }
  std::map<std::string, std::unique_ptr<Node>> nodes;
  std::map<std::string, NodeView> views;
};

std::uint64_t bytes_of(const wire::FlowBatch& batch) {
  std::uint64_t bytes = 0;
  for (const auto& item : batch.items) {
    bytes += item.message.size();
  }
  return bytes;
}

void ask(benchmark::State& state, const char* text) {
  static Nodes all;
  ::observer::GetFlowsRequest request;
  google::protobuf::TextFormat::ParseFromString(text, &request);
  std::chrono::duration<double, std::milli> nodes_time{};
  std::chrono::duration<double, std::milli> operator_time{};
  std::uint64_t sent = 0;
  std::uint64_t bytes = 0;
  std::uint64_t got = 0;
  std::uint64_t id = 0;
  for (auto unused : state) {
    (void)unused;
    const auto begun = Clock::now();
    std::chrono::duration<double, std::milli> away{};
    auto reader = ClusterReader::open(
        {.flows = request, .namespaces = {}}, all.views, [&] { return ++id; },
        {}, begun);
    ::observer::GetFlowsResponse response;
    while (true) {
      const auto step = reader->next(response, Clock::now());
      if (step == ClusterReader::Step::kEnd) {
        break;
      }
      got +=
          response.has_flow() && step == ClusterReader::Step::kMessage ? 1 : 0;
      for (const auto& command : reader->take_commands()) {
        const auto left = Clock::now();
        auto& node = *all.nodes[command.node];
        node.take(command);
        std::optional<wire::FlowBatch> batch;
        if (node.wanted) {
          batch = node.give();
        }
        away += Clock::now() - left;
        if (batch) {
          sent += batch->items.size();
          bytes += bytes_of(*batch);
          reader->on_batch(std::move(*batch), Clock::now());
        }
      }
    }
    nodes_time += away;
    operator_time += (Clock::now() - begun) - away;
  }
  const auto per = [&](double value) {
    return benchmark::Counter(value, benchmark::Counter::kAvgIterations);
  };
  state.counters["operator_ms"] = per(operator_time.count());
  state.counters["nodes_ms"] = per(nodes_time.count());
  state.counters["flows"] = per(static_cast<double>(sent));
  state.counters["kB"] = per(static_cast<double>(bytes) / 1'000);
  state.counters["got"] = per(static_cast<double>(got));
}

}  // namespace

BENCHMARK_CAPTURE(ask, last_100, "number: 100")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(ask, last_10000, "number: 10000")
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(ask, last_100_dropped,
                  "number: 100 whitelist { verdict: DROPPED }")
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(ask, all_dropped, "whitelist { verdict: DROPPED }")
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(ask, first_100000, "number: 100000 first: true")
    ->Unit(benchmark::kMillisecond);

BENCHMARK_MAIN();
