// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "sluice/abi.h"
#include "wire.pb.h"

namespace sluice::wire {

// Bits of EndpointEntry::permits, which are the kernel's, and the matching bits
// of the wire's Permission.
inline constexpr std::array<std::pair<std::uint32_t, std::uint32_t>, 3>
    kPermissions{{{SLUICE_EP_ANY_ETHERTYPE, v1::PERMISSION_ETHERTYPES},
                  {SLUICE_EP_TUNNELS, v1::PERMISSION_TUNNELS},
                  {SLUICE_EP_ANY_NEIGHBOUR, v1::PERMISSION_NEIGHBOURS}}};

inline std::uint32_t encode_permits(std::uint32_t permits) {
  std::uint32_t result = 0;
  for (const auto& [kernel, wire] : kPermissions) {
    result |= (permits & kernel) != 0 ? wire : 0;
  }
  return result;
}

// Unknown bits permit nothing.
inline std::uint32_t decode_permits(std::uint32_t permits) {
  std::uint32_t result = 0;
  for (const auto& [kernel, wire] : kPermissions) {
    result |= (permits & wire) != 0 ? kernel : 0;
  }
  return result;
}

}  // namespace sluice::wire
