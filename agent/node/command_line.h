// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

#include "agent/agent.h"

namespace CLI {
class App;
}

// Options shared by `sluice` and sluice-agent.
namespace sluice::node {

// Exit codes of every command.
inline constexpr int kExitOk = 0;
inline constexpr int kExitNegative = 1;  // denied, a check failed
inline constexpr int kExitError = 2;     // usage, bad input, cannot reach

// Prints "error: what" to the error stream; returns kExitError.
int complain(std::string_view what);

inline constexpr const char* kDefaultPinDir = "/sys/fs/bpf/sluice";
inline constexpr const char* kDefaultSocket = "/run/sluice/sluice.sock";
inline constexpr const char* kDefaultObserverSocket =
    "/run/sluice/sluice-hubble.sock";

void add_socket_option(CLI::App& command, std::filesystem::path& socket);
void add_pin_dir_option(CLI::App& command, std::filesystem::path& pin_dir);
// Options about flows at a change of policy, and about events.
void add_agent_options(CLI::App& command, agent::AgentOptions& options);
// Capacities of maps.
void add_size_options(CLI::App& command, agent::DatapathOptions& sizes);

}  // namespace sluice::node
