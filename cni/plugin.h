// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cni/input.h"

namespace sluice::cni {

// The result of a call of the plugin.
struct Outcome {
  int exit_code = 0;
  std::string output;  // JSON, or nothing
};

// Executes one call of the plugin with the CNI_* variables and the standard
// input. The plugin itself changes nothing on the node; only the agent does, at
// its request, so a failed call leaves nothing incomplete. One thread.
Outcome run(const Environment& environment, const std::string& input);

}  // namespace sluice::cni
