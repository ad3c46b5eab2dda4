// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>

#include "agent/node/flow_export.h"

namespace CLI {
class App;
}

namespace sluice::node {

// What becomes of the flows of a node.
struct FlowOptions {
  // Of Hubble's API; empty: observer_socket_of() that of the `sluice` command.
  std::filesystem::path socket;
  std::uint32_t kept = 65'536;
  std::uint32_t metrics_series = 256;     // of each metric; 0: none
  std::chrono::seconds traffic_every{0};  // counters of long flows; 0: never
  ExportOptions exported;
};

void add_flow_options(CLI::App& command, FlowOptions& options);
// "sluice-hubble.sock" beside "sluice.sock".
std::filesystem::path observer_socket_of(const std::filesystem::path& socket);

}  // namespace sluice::node
