// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cni/input.h"

namespace sluice::cni {

// What a call of the plugin leaves.
struct Outcome {
  int exit_code = 0;
  std::string output;  // JSON, or nothing
};

// One call of the plugin: CNI_COMMAND and its companions, and what came on
// standard input. It changes nothing on the node but what the agent does at
// its request, so a call that fails leaves nothing half done. One thread.
Outcome run(const Environment& environment, const std::string& input);

}  // namespace sluice::cni
