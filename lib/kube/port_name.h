// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace sluice::kube {

// True for what a port can be called: at most 15 lower-case letters, digits and
// hyphens, with at least one letter, and no hyphen at either end or beside
// another (Kubernetes' IsValidPortName).
bool is_port_name(std::string_view text);

}  // namespace sluice::kube
