// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/ip.h"
#include "lib/base/result.h"

// What the machine says of itself.
namespace sluice::cli {

std::string host_name();

// Addresses of this network namespace's interfaces, without loopback and
// link-local ones; sorted.
Result<std::vector<IpAddress>> local_addresses();

}  // namespace sluice::cli
