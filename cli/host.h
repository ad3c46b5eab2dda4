// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

// Properties of this machine.
namespace sluice::cli {

std::string host_name();

}  // namespace sluice::cli
