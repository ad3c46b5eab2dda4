// SPDX-License-Identifier: Apache-2.0
// What it costs to make structs of the lines of a watch of pods: as the
// operator does it, and as it would with the JSON library that everything else
// uses.
//
//   bench_decode
#include "lib/kube/decode.h"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>
#include <nlohmann/json.hpp>

#include "bench/made_cluster.h"
#include "lib/kube/api/event_decoder.h"
#include "lib/kube/api/line_splitter.h"
#include "lib/kube/api/list_splitter.h"

namespace {

namespace bench = sluice::bench;
namespace kube = sluice::kube;

constexpr int kLines = 200;

std::string line_of(int number) {
  const bench::MadeCluster cluster;
  return R"({"type":"MODIFIED","object":)" +
         bench::pod_json(
             cluster, {.number = number,
                       .name = "app-7d9c6b5f4-" + std::to_string(number),
                       .version = 1000 + static_cast<std::uint64_t>(number),
                       .ip = bench::ip_text(bench::kFirstPodAddress +
                                            static_cast<unsigned>(number))}) +
         "}\n";
}

std::string all_lines() {
  std::string text;
  for (int i = 0; i < kLines; ++i) {
    text += line_of(i);
  }
  return text;
}

void tell(benchmark::State& state, std::size_t bytes, std::int64_t events) {
  state.SetItemsProcessed(events);
  state.counters["bytes/event"] =
      static_cast<double>(bytes) / static_cast<double>(kLines);
}

// In pieces as they come from a socket.
void decode_fast(benchmark::State& state) {
  const std::string text = all_lines();
  kube::EventDecoder decoder(kube::pods(), "v1");
  std::int64_t events = 0;
  for (auto _ : state) {
    kube::LineSplitter lines(
        [&](std::string_view line) -> sluice::Result<void> {
          auto decoded = decoder.watch_line(line);
          if (!decoded ||
              std::get<kube::Pod>(decoded->event.object).ips.empty()) {
            std::abort();
          }
          benchmark::DoNotOptimize(decoded);
          ++events;
          return {};
        },
        std::size_t{8} << 20);
    for (std::size_t at = 0; at < text.size(); at += 128 << 10) {
      if (!lines.feed(std::string_view(text).substr(at, 128 << 10))) {
        std::abort();
      }
    }
  }
  tell(state, text.size(), events);
}
BENCHMARK(decode_fast)->Unit(benchmark::kMillisecond);

// A list, as it is taken apart while it comes; `decode` or only that.
void take_list(benchmark::State& state, bool decode) {
  std::string text = R"({"metadata":{"resourceVersion":"1"},"items":[)";
  for (int i = 0; i < kLines; ++i) {
    const std::string line = line_of(i);
    constexpr std::size_t kBefore = 28;  // {"type":"MODIFIED","object":
    text +=
        (i == 0 ? "" : ",") + line.substr(kBefore, line.size() - kBefore - 2);
  }
  text += "]}";
  kube::EventDecoder decoder(kube::pods(), "v1");
  std::int64_t items = 0;
  for (auto _ : state) {
    kube::ListSplitter list(
        [&](std::string_view item) -> sluice::Result<void> {
          ++items;
          if (decode && !decoder.list_item(item)) {
            std::abort();
          }
          return {};
        },
        std::size_t{8} << 20);
    for (std::size_t at = 0; at < text.size(); at += 128 << 10) {
      if (!list.feed(std::string_view(text).substr(at, 128 << 10))) {
        std::abort();
      }
    }
    if (!list.finish()) {
      std::abort();
    }
  }
  tell(state, text.size(), items);
}
BENCHMARK_CAPTURE(take_list, apart, false)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(take_list, decoded, true)->Unit(benchmark::kMillisecond);

void decode_plain(benchmark::State& state) {
  std::vector<std::string> lines;
  std::size_t bytes = 0;
  for (int i = 0; i < kLines; ++i) {
    lines.push_back(line_of(i));
    bytes += lines.back().size();
  }
  std::int64_t events = 0;
  for (auto _ : state) {
    for (const std::string& line : lines) {
      const auto event = nlohmann::json::parse(line, nullptr, false);
      auto pod = kube::decode_pod(event["object"]);
      if (!pod || pod->ips.empty()) {
        std::abort();
      }
      benchmark::DoNotOptimize(pod);
      ++events;
    }
  }
  tell(state, bytes, events);
}
BENCHMARK(decode_plain)->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
