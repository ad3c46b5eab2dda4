// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <random>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "lib/dns/matcher.h"

// Names per second through the matcher, with few and many patterns of each
// kind. Half of the names match one of them.
namespace {

using sluice::dns::Matcher;
using sluice::dns::Name;
using sluice::dns::NamePattern;
using sluice::dns::PatternId;

constexpr int kNames = 4096;

std::string host(std::uint32_t number) {
  return "host" + std::to_string(number);
}

// The pattern of that number.
using Make = std::string (*)(std::uint32_t number);

std::string exact(std::uint32_t number) {
  return host(number) + ".svc" + std::to_string(number % 100) + ".example.com";
}

std::string below(std::uint32_t number) {
  return (number % 2 == 0 ? "*.zone" : "**.zone") + std::to_string(number) +
         ".example.com";
}

// All of them in one domain, with as much text that differs early as late.
std::string inside(std::uint32_t number) {
  const std::string digits = std::to_string(number * 2654435761U);
  switch (number % 3) {
    case 0:
      return digits + "*.example.com";
    case 1:
      return "*" + digits + ".example.com";
    default:
      return digits + "*" + digits + ".example.com";
  }
}

std::string mixed(std::uint32_t number) {
  constexpr std::array<Make, 4> kAll{exact, exact, below, inside};
  return kAll.at(number % 4)(number);
}

std::string without_stars(std::string text) {
  for (std::size_t at = 0; (at = text.find('*', at)) != std::string::npos;) {
    text.replace(at, 1, "x");
  }
  return text;
}

void match(benchmark::State& state, Make make) {
  const auto patterns = static_cast<std::uint32_t>(state.range(0));
  Matcher matcher;
  for (std::uint32_t i = 0; i < patterns; ++i) {
    matcher.add(i, NamePattern::match_pattern(make(i)).value());
  }
  std::mt19937 random(1);
  std::vector<Name> names;
  for (int i = 0; i < kNames; ++i) {
    const auto number = static_cast<std::uint32_t>(random());
    const std::string text =
        i % 2 == 0 ? without_stars(make(number % patterns)) : exact(number);
    names.push_back(Name::from_text(text).value());
  }
  std::vector<PatternId> found;
  std::size_t matches = 0;
  std::size_t at = 0;
  for (auto _ : state) {
    matcher.match(names[at], found);
    matches += found.size();
    at = (at + 1) % kNames;
  }
  if (matches == 0) {
    state.SkipWithError("no name matches");
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK_CAPTURE(match, exact, exact)->Arg(1)->Arg(100)->Arg(10000);
BENCHMARK_CAPTURE(match, subdomains, below)->Arg(1)->Arg(100)->Arg(10000);
BENCHMARK_CAPTURE(match, stars_inside, inside)->Arg(1)->Arg(100)->Arg(10000);
BENCHMARK_CAPTURE(match, mixed, mixed)->Arg(1)->Arg(100)->Arg(10000);

// A pattern comes and goes, beside many others.
void change(benchmark::State& state) {
  const auto patterns = static_cast<std::uint32_t>(state.range(0));
  Matcher matcher;
  for (std::uint32_t i = 0; i < patterns; ++i) {
    matcher.add(i, NamePattern::match_pattern(mixed(i)).value());
  }
  const auto other = NamePattern::match_pattern(mixed(patterns + 3)).value();
  for (auto _ : state) {
    matcher.add(patterns, other);
    matcher.remove(patterns);
  }
}
BENCHMARK(change)->Arg(1)->Arg(10000);

}  // namespace

BENCHMARK_MAIN();
