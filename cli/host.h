// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

// What the machine says of itself.
namespace sluice::cli {

std::string host_name();

}  // namespace sluice::cli
