// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>

#include "agent/agent.h"
#include "cli/output.h"

namespace CLI {
class App;
}

// Options that several commands have.
namespace sluice::cli {

inline constexpr const char* kDefaultPinDir = "/sys/fs/bpf/sluice";
inline constexpr const char* kDefaultSocket = "/run/sluice/sluice.sock";

void add_output_option(CLI::App& command, Format& format);
void add_socket_option(CLI::App& command, std::filesystem::path& socket);
void add_pin_dir_option(CLI::App& command, std::filesystem::path& pin_dir);
// What happens to flows at a change, and which events there are.
void add_agent_options(CLI::App& command, agent::AgentOptions& options);
// Capacities of maps.
void add_size_options(CLI::App& command, agent::DatapathOptions& sizes);

}  // namespace sluice::cli
