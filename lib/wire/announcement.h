// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "lib/base/result.h"
#include "lib/wire/protocol.h"
#include "wire.pb.h"

// Converts addresses of pods to messages, and back. For this module and its
// tests.
namespace sluice::wire {

v1::PodAddress encode(const PodAddress& pod);
// Fails for addresses that no pod can have; every text is bounded.
Result<std::vector<PodAddress>> decode(const v1::PodAddresses& message);

}  // namespace sluice::wire
