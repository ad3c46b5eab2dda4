// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>

namespace sluice::health {

// Durations in the buckets of a Prometheus histogram. A value.
class Durations {
 public:
  static constexpr std::array<double, 10> kBoundsSeconds{
      0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5};
  void add(std::chrono::duration<double> time);

 private:
  friend class MetricFamilies;
  std::array<std::uint64_t, kBoundsSeconds.size() + 1> counts_{};
  double sum_seconds_ = 0;
};

// Metrics of one moment, in the order in which they are added, and their text
// in Prometheus' format 0.0.4. Names end in their unit, counters in _total.
class MetricFamilies {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;
  using Samples = std::vector<std::pair<Labels, double>>;

  void gauge(const char* name, const char* help, double value);
  void gauge(const char* name, const char* help, const Samples& samples);
  void counter(const char* name, const char* help, std::uint64_t value);
  void counter(const char* name, const char* help, const Samples& samples);
  void histogram(const char* name, const char* help, const Durations& times);
  // The process metrics that Prometheus' own client libraries export.
  void process();

  [[nodiscard]] std::string text() const;

 private:
  void add(const char* name, const char* help, prometheus::MetricType type,
           const Samples& samples);

  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace sluice::health
