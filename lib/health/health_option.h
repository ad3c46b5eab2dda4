// SPDX-License-Identifier: Apache-2.0
#pragma once

// For the files that define command-line options. Source files only.

#include <string>

#include <CLI/CLI.hpp>

namespace sluice::health {

// Adds --health. `address`: as for HealthServer; empty without the option.
inline void add_health_option(CLI::App& command, std::string& address) {
  command
      .add_option(
          "--health", address,
          "Address of /healthz, /readyz and /metrics; default: not served")
      ->type_name("ADDRESS:PORT");
}

}  // namespace sluice::health
