// SPDX-License-Identifier: Apache-2.0
#include "agent/apply.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <benchmark/benchmark.h>

#include "agent/datapath.h"
#include "agent/maps.h"

// How long transactions take against the kernel's maps. The time up to the
// epoch step is what a change waits for; the grace period is the kernel's and
// depends on what else runs, so it is reported by itself.
namespace sluice::agent {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::duration duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

// Passes everything on and notes when the epoch stepped and how long packets
// were waited for.
class Timed final : public Maps {
 public:
  explicit Timed(std::unique_ptr<Maps> maps) : maps_(std::move(maps)) {}
  Clock::time_point stepped;
  Clock::duration grace{};
  Clock::duration grace_before_step{};

  // A transaction begins.
  void reset() {
    grace = {};
    grace_before_step = {};
  }
  // From `begin` to the epoch step, without waiting for packets.
  [[nodiscard]] double seconds_to_step(Clock::time_point begin) const {
    return std::chrono::duration<double>(stepped - begin - grace_before_step)
        .count();
  }

  Progress update(Map map, const Batch& elements) override {
    return maps_->update(map, elements);
  }
  Progress erase(Map map, const Batch& keys) override {
    return maps_->erase(map, keys);
  }
  [[nodiscard]] Result<void> read(Map map,
                                  const Visitor& visit) const override {
    return maps_->read(map, visit);
  }
  [[nodiscard]] std::uint32_t capacity(Map map) const override {
    return maps_->capacity(map);
  }
  [[nodiscard]] sluice_endpoint endpoint(std::uint32_t index) const override {
    return maps_->endpoint(index);
  }
  void store_policy(std::uint32_t index, unsigned slot,
                    sluice_endpoint_policy policy) override {
    maps_->store_policy(index, slot, policy);
  }
  void store_facts(std::uint32_t index, const EndpointFacts& facts) override {
    maps_->store_facts(index, facts);
  }
  [[nodiscard]] std::uint32_t epoch() const override { return maps_->epoch(); }
  void store_epoch(std::uint32_t epoch) override {
    maps_->store_epoch(epoch);
    stepped = Clock::now();
    grace_before_step = grace;
  }
  Result<void> grace_period() override {
    const auto begin = Clock::now();
    auto result = maps_->grace_period();
    grace += Clock::now() - begin;
    return result;
  }

 private:
  std::unique_ptr<Maps> maps_;
};

[[noreturn]] void give_up(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}

template <typename T>
T expect(Result<T> result) {
  if (!result) {
    give_up(result.error().message);
  }
  if constexpr (!std::is_void_v<T>) {
    return std::move(*result);
  }
}

constexpr std::uint32_t kSet = 1;

PeerEntry peer(std::uint32_t number, std::uint32_t cidr_id) {
  IpAddress ip;
  ip.bytes = {10, static_cast<std::uint8_t>(number >> 16),
              static_cast<std::uint8_t>(number >> 8),
              static_cast<std::uint8_t>(number)};
  return {.prefix = {.address = ip, .length = 32}, .cidr_id = cidr_id};
}

// Half of it policy entries, ten to a class, half of it addresses; one isolated
// endpoint that uses the set.
State state_of(std::uint32_t size, std::uint32_t rule) {
  State state;
  for (std::uint32_t i = 0; i < size / 2; ++i) {
    sluice_policy_key key{};
    key.prefixlen = SLUICE_PREFIX_PORT;
    key.policy_id = kSet;
    key.cidr_id = 1 + (i / 10);
    key.protocol = 6;
    key.port = __builtin_bswap16(static_cast<std::uint16_t>(1 + (i % 10)));
    state.entries.push_back(
        {key, {.verdict = SLUICE_VERDICT_ALLOW, .rule = rule}});
    state.peers.push_back(peer(i, 1 + (i / 10)));
  }
  EndpointEntry endpoint{.name = "ns/pod", .policy_set = kSet};
  endpoint.isolated = {true, true};
  endpoint.ips = {*parse_ip("10.255.0.1")};
  state.endpoints = {endpoint};
  return state;
}

struct Bench {
  Bench() { applier.bind("ns/pod", 2); }

  Datapath datapath = expect(Datapath::load({}));
  std::unique_ptr<Timed> timed =
      std::make_unique<Timed>(expect(kernel_maps(datapath)));
  Timed& maps = *timed;
  Applier applier = expect(Applier::create(std::move(timed)));
};

// One transaction per iteration, `next(i)`; times up to the epoch step.
// A grace period precedes it where the last transaction deleted addresses.
template <typename Next>
void measure(benchmark::State& run, Bench& bench, Next next) {
  Clock::duration grace{};
  Clock::duration after{};
  std::int64_t i = 0;
  while (run.KeepRunning()) {
    const Transaction transaction = next(i++);
    bench.maps.reset();
    const auto begin = Clock::now();
    expect(bench.applier.apply(transaction));
    const auto end = Clock::now();
    run.SetIterationTime(bench.maps.seconds_to_step(begin));
    grace += bench.maps.grace;
    after += end - bench.maps.stepped -
             (bench.maps.grace - bench.maps.grace_before_step);
  }
  const auto iterations = static_cast<double>(run.iterations());
  run.counters["grace_ms"] = milliseconds(grace) / iterations;
  run.counters["after_ms"] = milliseconds(after) / iterations;
}

// Everything is new: an agent's first transaction.
void from_nothing(benchmark::State& run) {
  Bench bench;
  const auto size = static_cast<std::uint32_t>(run.range(0));
  const auto full = diff({}, state_of(size, 16));
  const auto empty = diff(state_of(size, 16), {});
  Clock::duration grace{};
  while (run.KeepRunning()) {
    bench.maps.reset();
    const auto begin = Clock::now();
    expect(bench.applier.apply(full));
    run.SetIterationTime(bench.maps.seconds_to_step(begin));
    grace += bench.maps.grace;
    expect(bench.applier.apply(empty));
  }
  run.SetItemsProcessed(run.iterations() * size);
  run.counters["grace_ms"] =
      milliseconds(grace) / static_cast<double>(run.iterations());
}
BENCHMARK(from_nothing)
    ->Arg(10'000)
    ->Arg(100'000)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

// Every entry and every address changes.
void everything_changes(benchmark::State& run) {
  Bench bench;
  const auto size = static_cast<std::uint32_t>(run.range(0));
  const State first = state_of(size, 16);
  State second = state_of(size, 17);
  for (auto& entry : second.peers) {
    entry.cidr_id = (entry.cidr_id % (size / 20)) + 1;
  }
  const auto there = diff(first, second);
  const auto back = diff(second, first);
  expect(bench.applier.apply(diff({}, first)));
  measure(run, bench, [&](auto i) { return i % 2 == 0 ? there : back; });
  run.SetItemsProcessed(run.iterations() * size);
}
BENCHMARK(everything_changes)
    ->Arg(10'000)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

// A fiftieth of a set's entries changes.
void a_part_changes(benchmark::State& run) {
  Bench bench;
  const auto size = static_cast<std::uint32_t>(run.range(0));
  const State first = state_of(2 * size, 16);
  expect(bench.applier.apply(diff({}, first)));
  measure(run, bench, [&](auto i) {
    Transaction transaction;
    for (std::uint32_t k = i % 50; k < size; k += 50) {
      transaction.entries.push_back(
          {first.entries[k].key,
           sluice_policy_value{.verdict = SLUICE_VERDICT_ALLOW,
                               .rule = static_cast<std::uint32_t>(20 + i)}});
    }
    return transaction;
  });
}
BENCHMARK(a_part_changes)
    ->Arg(30'000)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

// A pod comes or goes while the maps are full of others.
void one_peer(benchmark::State& run) {
  Bench bench;
  const auto size = static_cast<std::uint32_t>(run.range(0));
  expect(bench.applier.apply(diff({}, state_of(size, 16))));
  const auto entry = peer(1 << 20, 5);
  measure(run, bench, [&](auto i) {
    Transaction transaction;
    transaction.peers.push_back(
        {entry.prefix,
         i % 2 == 0 ? std::optional(entry.cidr_id) : std::nullopt});
    return transaction;
  });
}
BENCHMARK(one_peer)
    ->Iterations(200)
    ->Arg(10'000)
    ->Arg(100'000)
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace sluice::agent

BENCHMARK_MAIN();
