// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <netlink/netlink.h>

#include "lib/base/result.h"

namespace sluice::agent {

// Deletes the clsact qdisc of an interface if neither direction has any filter.
// Success if there is no such qdisc or interface. `requests` is a socket for
// requests only.
Result<void> remove_unused_clsact(nl_sock& requests, std::uint32_t ifindex);

}  // namespace sluice::agent
