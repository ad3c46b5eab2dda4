// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/maps.h"
#include "agent/mirror.h"
#include "agent/plan.h"
#include "lib/base/result.h"

namespace sluice::agent {

// What an applier finds in maps that were used before.
struct Takeover {
  Mirror mirror;
  // Removes what an interrupted transaction left. Empty if none was.
  Cleanup cleanup;
};

// Reads all maps; writes nothing. No other applier may be writing.
Result<Takeover> take_over(const Maps& maps);

}  // namespace sluice::agent
