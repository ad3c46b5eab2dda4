// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace sluice::agentd {

// Returns "HOST:PORT" as gRPC expects it. An IPv6 address may lack brackets,
// because Kubernetes' variables combine an address and a port without them.
// Fails for impossible values, such as an unset variable.
Result<std::string> operator_target(std::string_view text);

}  // namespace sluice::agentd
