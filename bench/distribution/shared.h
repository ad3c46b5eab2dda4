// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/fd.h"

// What the processes of the benchmark share: when each address that is to
// travel from the API server to the agents was due to be sent. Addresses are
// numbered from kFirstAddress on.
namespace sluice::bench {

inline constexpr std::uint32_t kFirstAddress = 0x0aa0'0000;
inline constexpr std::uint32_t kAddresses = std::uint32_t{1} << 21;

using Nanoseconds = std::int64_t;
// CLOCK_MONOTONIC, which is the same for all processes.
inline Nanoseconds now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

class Times {
 public:
  Times() = default;
  // A new table, in memory that others can map by its descriptor.
  static Times create();
  static Times open(int fd);
  Times(Times&& other) noexcept;
  Times& operator=(Times&& other) noexcept;
  Times(const Times&) = delete;
  Times& operator=(const Times&) = delete;
  ~Times();

  [[nodiscard]] int fd() const { return fd_.get(); }
  std::atomic<Nanoseconds>& operator[](std::uint32_t number) const {
    return table_[number];
  }

 private:
  explicit Times(Fd fd);
  Fd fd_;
  std::atomic<Nanoseconds>* table_ = nullptr;
};

// Takes the descriptors it may have, and the CPU it is to run on (-1: any).
void prepare_process(int cpu);

// Samples in microseconds; p in 0 to 1.
class Samples {
 public:
  void add(Nanoseconds value) {
    values_.push_back(static_cast<float>(value) / 1000.0F);
  }
  [[nodiscard]] std::size_t size() const { return values_.size(); }
  // Milliseconds; 0 if there are none.
  double percentile(double p);
  void clear() { values_.clear(); }

 private:
  std::vector<float> values_;
};

// The processes. Each says one JSON object a line, and answers the line "r" on
// its standard input with what it counted since the last one; agents answer "p"
// with how far they are. They end with their input.
int run_operator(const std::string& api_server, int cpu);
int run_agents(int port, int nodes, int times_fd, int cpu);

}  // namespace sluice::bench
