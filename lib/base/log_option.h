// SPDX-License-Identifier: Apache-2.0
#pragma once

// For the files that define command-line options. Source files only.

#include <map>
#include <string>

#include <CLI/CLI.hpp>

#include "lib/base/option_words.h"
#include "lib/base/process.h"

namespace sluice {

// Adds --log-level to a program that logs. It takes effect when the command
// line is read.
inline void add_log_level_option(CLI::App& command) {
  static const std::map<std::string, LogLevel> levels{
      {"debug", LogLevel::kDebug},
      {"info", LogLevel::kInfo},
      {"warn", LogLevel::kWarn},
      {"error", LogLevel::kError}};
  command
      .add_option_function<LogLevel>(
          "--log-level", [](const LogLevel& level) { set_log_level(level); },
          "What is logged: nothing below this level; default info")
      ->transform(one_of(levels))
      ->type_name("debug|info|warn|error");
}

}  // namespace sluice
