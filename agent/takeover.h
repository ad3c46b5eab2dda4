// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/maps.h"
#include "agent/mirror.h"
#include "agent/plan.h"
#include "lib/base/result.h"

namespace sluice::agent {

// The content of maps that were used before.
struct Takeover {
  Mirror mirror;
  // Removes the remains of an interrupted transaction; empty if there are none.
  Cleanup cleanup;
};

// Reads all maps; writes nothing. No other applier may be writing.
Result<Takeover> take_over(const Maps& maps);

}  // namespace sluice::agent
