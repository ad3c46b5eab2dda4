// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <google/protobuf/timestamp.pb.h>

// Times of flows: nanoseconds since 1970. Internal to this module and for
// servers of it.
namespace sluice::flow {

inline constexpr std::int64_t kSecond = 1'000'000'000;

inline std::int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// What a client sends may be any number; later times become the year 2255.
inline std::int64_t nanoseconds(const google::protobuf::Timestamp& time) {
  constexpr std::int64_t kMost = 9'000'000'000;
  return (std::clamp(time.seconds(), -kMost, kMost) * kSecond) + time.nanos();
}

inline void set_time(std::int64_t time, google::protobuf::Timestamp& to) {
  to.set_seconds(time / kSecond);
  to.set_nanos(static_cast<std::int32_t>(time % kSecond));
}

}  // namespace sluice::flow
