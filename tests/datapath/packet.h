// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cli/packet.h"

// The packets of `sluice test --kernel` are those of the datapath's tests.
namespace sluice::testing {

using namespace packet;

}  // namespace sluice::testing
