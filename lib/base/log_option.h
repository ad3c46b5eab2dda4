// SPDX-License-Identifier: Apache-2.0
#pragma once

// For the files that define command-line options. Source files only.

#include <map>
#include <string>

#include <CLI/CLI.hpp>
#include <spdlog/spdlog.h>

#include "lib/base/option_words.h"

namespace sluice {

// Adds --log-level to a program that logs. It takes effect when the command
// line is read, for the log that start_log() opens too.
inline void add_log_level_option(CLI::App& command) {
  static const std::map<std::string, int> levels{
      {"debug", spdlog::level::debug},
      {"info", spdlog::level::info},
      {"warn", spdlog::level::warn},
      {"error", spdlog::level::err}};
  command
      .add_option_function<int>(
          "--log-level",
          [](const int& level) {
            spdlog::set_level(static_cast<spdlog::level::level_enum>(level));
          },
          "What is logged: nothing below this level; default info")
      ->transform(one_of(levels))
      ->type_name("debug|info|warn|error");
}

}  // namespace sluice
