// SPDX-License-Identifier: Apache-2.0
// What an operator's translator costs: nodes, pods and policies as given, and
// then one pod event after another, each taken by the nodes it concerns.
//
//   bench_translate                     1,000 nodes, 10,000 pods, 500 policies
//   bench_translate --benchmark_filter=...
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "lib/policy/translator.h"

namespace {

using sluice::IpAddress;
using sluice::policy::LabelSelector;
using sluice::policy::Requirement;
using sluice::policy::Translator;
namespace kube = sluice::kube;
namespace policy = sluice::policy;

struct Size {
  int nodes = 1000;
  int pods = 10000;
  int policies = 500;
  int services = 500;
};

constexpr int kNamespaces = 100;

IpAddress address(unsigned base, int number) {
  IpAddress result;
  const unsigned value = base + static_cast<unsigned>(number);
  for (int i = 0; i < 4; ++i) {
    result.bytes[i] = static_cast<std::uint8_t>(value >> (24 - i * 8));
  }
  return result;
}

std::string ns_of(int number) {
  return "ns" + std::to_string(number % kNamespaces);
}

std::string app_of(int number, const Size& size) {
  return "app" + std::to_string(number % size.policies);
}

// Pods of one app are in one namespace, on as many nodes as there are pods.
kube::Pod pod(int number, const Size& size, bool stray) {
  kube::Pod result;
  result.ns = ns_of(number % size.policies);
  result.name = "pod" + std::to_string(number);
  result.labels = {
      {"app", stray ? "stray" : app_of(number, size)},
      {"pod-template-hash", std::to_string(number % size.policies * 7919)},
      {"version", number % 2 == 0 ? "a" : "b"}};
  result.node = "node" + std::to_string(number % size.nodes);
  result.service_account = "default";
  result.ips = {address(0x0a800000, number)};
  result.ports = {{.name = "http", .port = 8080, .protocol = 6}};
  return result;
}

LabelSelector app_selector(const std::string& ns, const std::string& app) {
  return {{{.key = "app", .op = Requirement::Op::kIn, .values = {app}},
           {.key = "io.kubernetes.pod.namespace",
            .op = Requirement::Op::kIn,
            .values = {ns}}}};
}

// Each lets three other apps in, and out to two, to the DNS pods and to a
// network outside.
policy::Policy make_policy(int number, const Size& size) {
  const auto peer = [&](int other) -> policy::PeerSelector {
    const int chosen = (number + other * 37) % size.policies;
    return app_selector(ns_of(chosen), app_of(chosen, size));
  };
  policy::Rule in{.direction = policy::Direction::kIngress,
                  .peers = {peer(1), peer(2), peer(3)},
                  .path = "spec.ingress[0]"};
  in.l4.ranges = {{.protocol = 6, .first = 8080, .last = 8080}};
  policy::Rule out{.direction = policy::Direction::kEgress,
                   .peers = {peer(4), peer(5)},
                   .path = "spec.egress[0]"};
  out.l4.ranges = in.l4.ranges;
  policy::Rule dns{.direction = policy::Direction::kEgress,
                   .peers = {app_selector(ns_of(0), "app0")},
                   .path = "spec.egress[1]"};
  dns.l4.ranges = {{.protocol = 17, .first = 53, .last = 53}};
  policy::Rule outside{.direction = policy::Direction::kEgress,
                       .path = "spec.egress[2]"};
  outside.l4.any = true;
  outside.peers = {policy::CidrPeer{
      .cidr = {.address = address(0xc6120000, number << 8), .length = 24},
      .external_only = true}};
  policy::Spec spec;
  spec.subject = app_selector(ns_of(number), app_of(number, size));
  spec.default_deny = {true, true};
  spec.rules = {in, out, dns, outside};
  policy::Policy result;
  result.key = {.kind = "CiliumNetworkPolicy",
                .ns = ns_of(number),
                .name = "policy" + std::to_string(number)};
  result.specs = {spec};
  return result;
}

void add_services(Translator& translator, const Size& size) {
  for (int i = 0; i < size.services; ++i) {
    kube::Service service;
    service.ns = ns_of(i);
    service.name = "svc" + std::to_string(i);
    service.selector = {{"app", app_of(i, size)}};
    service.cluster_ips = {address(0x0a600000, i)};
    service.ports = {{.name = "http", .port = 80, .target_port = 8080}};
    translator.set(service);
    kube::EndpointSlice slice{.ns = service.ns,
                              .name = service.name + "-1",
                              .service = service.name,
                              .ports = {{.name = "http", .port = 8080}},
                              .endpoints = {}};
    for (int p = i; p < size.pods; p += size.policies) {
      slice.endpoints.push_back({.addresses = {address(0x0a800000, p)}});
    }
    translator.set(slice);
  }
}

std::size_t resident_kb() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "VmRSS:") {
      std::size_t kb = 0;
      status >> kb;
      return kb;
    }
  }
  return 0;
}

std::unique_ptr<Translator> cluster(const Size& size) {
  auto translator = std::make_unique<Translator>();
  for (int i = 0; i < kNamespaces; ++i) {
    translator->set(
        kube::Namespace{.name = ns_of(i), .labels = {}, .annotations = {}});
  }
  for (int i = 0; i < size.nodes; ++i) {
    translator->set(kube::Node{.name = "node" + std::to_string(i),
                               .labels = {},
                               .ips = {address(0xc0a80000, i)}});
  }
  for (int i = 0; i < size.policies; ++i) {
    translator->set(make_policy(i, size));
  }
  for (int i = 0; i < size.pods; ++i) {
    translator->set(pod(i, size, false));
  }
  add_services(*translator, size);
  for (int i = 0; i < size.nodes; ++i) {
    translator->watch_node("node" + std::to_string(i));
  }
  return translator;
}

struct Sent {
  std::size_t nodes = 0;
  std::size_t changes = 0;
};

Sent take_changes(Translator& translator) {
  Sent sent;
  for (const auto& node : translator.changed_nodes()) {
    const auto changes = translator.take(node);
    ++sent.nodes;
    sent.changes += changes.peers.size() + changes.entries.size() +
                    changes.endpoints.size();
  }
  return sent;
}

Size size_of(const benchmark::State& state) {
  return {.nodes = static_cast<int>(state.range(0)),
          .pods = static_cast<int>(state.range(1)),
          .policies = static_cast<int>(state.range(2)),
          .services = static_cast<int>(state.range(2))};
}

// From nothing to every node's first view.
void start(benchmark::State& state) {
  const auto size = size_of(state);
  const auto before = resident_kb();
  for (auto _ : state) {
    const auto translator = cluster(size);
    const auto sent = take_changes(*translator);
    state.counters["changes_sent"] = static_cast<double>(sent.changes);
    state.counters["rss_mb"] =
        static_cast<double>(resident_kb() - before) / 1024;
  }
}

// Pods that come and go. `stray`: no policy has anything to do with them.
void pod_events(benchmark::State& state, bool stray) {
  const auto size = size_of(state);
  const auto translator = cluster(size);
  take_changes(*translator);
  std::vector<double> times;
  Sent sent;
  int next = 0;
  for (auto _ : state) {
    const int number = size.pods + (next / 2 % 500);
    const auto event = pod(number, size, stray);
    const auto begin = std::chrono::steady_clock::now();
    if (next % 2 == 0) {
      translator->set(event);
    } else {
      translator->remove_pod(event.ns, event.name);
    }
    const auto one = take_changes(*translator);
    const std::chrono::duration<double, std::micro> spent =
        std::chrono::steady_clock::now() - begin;
    times.push_back(spent.count());
    sent.nodes += one.nodes;
    sent.changes += one.changes;
    ++next;
  }
  std::ranges::sort(times);
  state.counters["p50_us"] = times[times.size() / 2];
  state.counters["p99_us"] = times[times.size() * 99 / 100];
  state.counters["max_us"] = times.back();
  state.counters["nodes_per_event"] =
      static_cast<double>(sent.nodes) / static_cast<double>(next);
  state.counters["changes_per_event"] =
      static_cast<double>(sent.changes) / static_cast<double>(next);
}

void pod_events_selected(benchmark::State& state) {
  pod_events(state, false);
}

void pod_events_stray(benchmark::State& state) {
  pod_events(state, true);
}

BENCHMARK(start)
    ->Args({1000, 10000, 500})
    ->Iterations(1)
    ->Unit(benchmark::kMillisecond);
BENCHMARK(pod_events_selected)
    ->Args({1000, 10000, 500})
    ->Iterations(20000)
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(pod_events_stray)
    ->Args({1000, 10000, 500})
    ->Iterations(20000)
    ->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
