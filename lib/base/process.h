// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/base/fd.h"
#include "lib/base/result.h"

// What every long-running program does with its process.
namespace sluice {

// A descriptor that is readable when SIGTERM, SIGINT or SIGHUP has come. To be
// called before any thread is started: they are blocked in all that follow.
Result<Fd> open_signals();
struct Signals {
  bool stop = false;    // SIGTERM, SIGINT
  bool reload = false;  // SIGHUP
};
// All that have come.
Signals read_signals(int fd);

// Sends the log to stderr, each line with the time.
void start_log(const std::string& program);

}  // namespace sluice
