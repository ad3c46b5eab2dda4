// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <fstream>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/health/metric_families.h"

namespace sluice::health {
namespace {

// The value of a metric without labels; -1 if there is none.
double value_of(const std::string& name) {
  MetricFamilies families;
  families.process();
  std::istringstream lines(families.text());
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(name + " ")) {
      return std::stod(line.substr(name.size() + 1));
    }
  }
  return -1;
}

TEST(ProcessMetrics, AreThoseOfThisProcess) {
  EXPECT_GT(value_of("process_resident_memory_bytes"), 1e5);
  EXPECT_GT(value_of("process_virtual_memory_bytes"),
            value_of("process_resident_memory_bytes"));
  EXPECT_GE(value_of("process_max_fds"), value_of("process_open_fds"));
  const double now = std::chrono::duration<double>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count();
  constexpr double kDay = 86'400;
  EXPECT_LT(value_of("process_start_time_seconds"), now + 2);
  EXPECT_GT(value_of("process_start_time_seconds"), now - kDay);
}

TEST(ProcessMetrics, FollowWhatTheProcessDoes) {
  const auto files = value_of("process_open_fds");
  const std::ifstream one("/proc/self/stat");
  const std::ifstream two("/proc/self/stat");
  EXPECT_EQ(value_of("process_open_fds"), files + 2);
  const auto before = value_of("process_cpu_seconds_total");
  EXPECT_GE(before, 0);
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  double after = before;
  while (after <= before && std::chrono::steady_clock::now() < end) {
    after = value_of("process_cpu_seconds_total");
  }
  EXPECT_GT(after, before);
}

}  // namespace
}  // namespace sluice::health
