// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::policy {

// The ICMP type that a text means: "0" to "255" without a leading zero, or a
// name that CiliumNetworkPolicy accepts, as in icmps[].fields[].type.
std::optional<std::uint8_t> icmp_type(std::string_view text, bool v6);

}  // namespace sluice::policy
