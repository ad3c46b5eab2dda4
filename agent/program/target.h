// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace sluice::agentd {

// "HOST:PORT" as gRPC takes it. An IPv6 address may come without brackets,
// because that is how Kubernetes' variables put an address and a port together.
// An error for what cannot be meant, such as a variable that was not there.
Result<std::string> operator_target(std::string_view text);

}  // namespace sluice::agentd
