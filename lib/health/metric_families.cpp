// SPDX-License-Identifier: Apache-2.0
#include "lib/health/metric_families.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>

#include <prometheus/text_serializer.h>
#include <sys/resource.h>
#include <unistd.h>

namespace sluice::health {

using prometheus::ClientMetric;
using prometheus::MetricType;

namespace {

// Of proc(5), /proc/self/stat.
struct Stat {
  double user_ticks = 0;
  double system_ticks = 0;
  double start_ticks = 0;  // since the machine has started
  double virtual_bytes = 0;
  double resident_pages = 0;
};

Stat read_stat() {
  constexpr int kUser = 14;
  constexpr int kSystem = 15;
  constexpr int kStart = 22;
  constexpr int kVirtual = 23;
  constexpr int kResident = 24;
  std::ifstream file("/proc/self/stat");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  // The second field, the program's name in parentheses, may contain blanks.
  std::istringstream rest(
      text.substr(std::min(text.size(), text.rfind(')') + 1)));
  std::array<double, kResident + 1> fields{};
  std::string state;
  rest >> state;
  for (int field = 4; field <= kResident; ++field) {
    rest >> fields.at(static_cast<std::size_t>(field));
  }
  return {.user_ticks = fields[kUser],
          .system_ticks = fields[kSystem],
          .start_ticks = fields[kStart],
          .virtual_bytes = fields[kVirtual],
          .resident_pages = fields[kResident]};
}

// When the machine has started, since 1970.
double boot_seconds() {
  std::ifstream file("/proc/stat");
  std::string word;
  while (file >> word) {
    if (word == "btime") {
      double seconds = 0;
      file >> seconds;
      return seconds;
    }
  }
  return 0;
}

double open_files() {
  std::error_code error;
  const std::filesystem::directory_iterator files("/proc/self/fd", error);
  // One of them is the folder itself.
  return error
             ? 0
             : static_cast<double>(std::distance(begin(files), end(files))) - 1;
}

}  // namespace

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
  const auto stat = read_stat();
  const auto ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
  counter("process_cpu_seconds_total",
          "Total user and system CPU time spent in seconds.",
          Samples{{{}, (stat.user_ticks + stat.system_ticks) / ticks}});
  gauge("process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        boot_seconds() + (stat.start_ticks / ticks));
  gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.",
        stat.virtual_bytes);
  gauge("process_resident_memory_bytes", "Resident memory size in bytes.",
        stat.resident_pages * static_cast<double>(::sysconf(_SC_PAGESIZE)));
  gauge("process_open_fds", "Number of open file descriptors.", open_files());
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    gauge("process_max_fds", "Maximum number of open file descriptors.",
          static_cast<double>(files.rlim_cur));
  }
}

std::string MetricFamilies::text() const {
  return prometheus::TextSerializer().Serialize(families_);
}

}  // namespace sluice::health
