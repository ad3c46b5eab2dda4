// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "lib/flow/record.h"

namespace sluice::node {

// The parts of "Kind/namespace/name" or "Kind/name", as policies are called in
// the state of a node.
flow::PolicyName policy_name(std::string_view text);

}  // namespace sluice::node
