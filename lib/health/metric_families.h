// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>

#include "lib/base/durations.h"

namespace sluice::health {

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
