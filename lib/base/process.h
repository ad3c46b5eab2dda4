// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "lib/base/fd.h"
#include "lib/base/result.h"

// Process setup shared by all long-running programs.
namespace sluice {

// Opens a descriptor that is readable when SIGTERM, SIGINT or SIGHUP has
// arrived. To be called before any thread is started, because these signals are
// then blocked in all later threads.
Result<Fd> open_signals();
struct Signals {
  bool stop = false;    // SIGTERM, SIGINT
  bool reload = false;  // SIGHUP
};
// Reads all signals that have arrived.
Signals read_signals(int fd);

// Sends the log to stderr, each line with the time.
void start_log(const std::string& program);
enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };
// From now on, nothing below this level is logged; also by a log that is
// started later. At first, it is kInfo.
void set_log_level(LogLevel level);

}  // namespace sluice
