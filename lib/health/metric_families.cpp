// SPDX-License-Identifier: Apache-2.0
#include "lib/health/metric_families.h"

#include <fstream>

#include <prometheus/text_serializer.h>
#include <unistd.h>

namespace sluice::health {

using prometheus::ClientMetric;
using prometheus::MetricType;

void MetricFamilies::add(const char* name, const char* help, MetricType type,
                         const Samples& samples) {
  prometheus::MetricFamily family{name, help, type, {}};
  for (const auto& [labels, value] : samples) {
    ClientMetric metric;
    for (const auto& [key, text] : labels) {
      metric.label.push_back({key, text});
    }
    if (type == MetricType::Gauge) {
      metric.gauge.value = value;
    } else {
      metric.counter.value = value;
    }
    family.metric.push_back(std::move(metric));
  }
  families_.push_back(std::move(family));
}

void MetricFamilies::gauge(const char* name, const char* help, double value) {
  add(name, help, MetricType::Gauge, {{{}, value}});
}

void MetricFamilies::gauge(const char* name, const char* help,
                           const Samples& samples) {
  add(name, help, MetricType::Gauge, samples);
}

void MetricFamilies::counter(const char* name, const char* help,
                             std::uint64_t value) {
  add(name, help, MetricType::Counter, {{{}, static_cast<double>(value)}});
}

void MetricFamilies::counter(const char* name, const char* help,
                             const Samples& samples) {
  add(name, help, MetricType::Counter, samples);
}

void MetricFamilies::histogram(const char* name, const char* help,
                               const Durations& times) {
  ClientMetric metric;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < Durations::kBoundsSeconds.size(); ++i) {
    total += times.counts()[i];
    metric.histogram.bucket.push_back(
        {.cumulative_count = total,
         .upper_bound = Durations::kBoundsSeconds[i]});
  }
  metric.histogram.sample_count = total + times.counts().back();
  metric.histogram.sample_sum = times.sum_seconds();
  families_.push_back({name, help, MetricType::Histogram, {std::move(metric)}});
}

void MetricFamilies::process() {
  std::ifstream file("/proc/self/statm");
  double size_pages = 0;
  double resident_pages = 0;
  file >> size_pages >> resident_pages;
  gauge("process_resident_memory_bytes", "Resident memory size in bytes.",
        resident_pages * static_cast<double>(::sysconf(_SC_PAGESIZE)));
}

std::string MetricFamilies::text() const {
  return prometheus::TextSerializer().Serialize(families_);
}

}  // namespace sluice::health
