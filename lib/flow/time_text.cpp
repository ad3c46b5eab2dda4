// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/time_text.h"

#include <charconv>
#include <cstdint>
#include <string_view>
#include <system_error>

#include <google/protobuf/util/time_util.h>

namespace sluice::flow {
namespace {

using google::protobuf::Timestamp;

// Of a unit of time; 0 if there is no such unit.
double seconds_of(std::string_view unit) {
  if (unit == "s") {
    return 1;
  }
  if (unit == "m") {
    return 60;
  }
  return unit == "h" ? 3600 : 0;
}

}  // namespace

Result<Timestamp> parse_time(const std::string& text) {
  Timestamp time;
  if (google::protobuf::util::TimeUtil::FromString(text, &time)) {
    return time;
  }
  double value = 0;
  const auto* end = text.data() + text.size();
  const auto [unit, error] = std::from_chars(text.data(), end, value);
  const std::string_view rest(unit, static_cast<std::size_t>(end - unit));
  const double seconds = seconds_of(rest);
  if (error != std::errc() || seconds == 0 || value < 0 || value >= 1e9) {
    return fail("\"" + text +
                "\" is neither a duration such as 90s, 5m or 2h nor a time of "
                "RFC 3339");
  }
  const auto now = google::protobuf::util::TimeUtil::GetCurrentTime();
  return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(
      google::protobuf::util::TimeUtil::TimestampToNanoseconds(now) -
      static_cast<std::int64_t>(value * seconds * 1e9));
}

}  // namespace sluice::flow
