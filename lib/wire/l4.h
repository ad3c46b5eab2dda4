// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <optional>

#include "sluice/abi.h"

namespace sluice::wire {

// Packs a policy key's direction, protocol, port and prefix length into 30
// bits.
inline std::uint32_t pack_l4(const sluice_policy_key& key) {
  return (key.prefixlen - SLUICE_PREFIX_ANY) << 25 |
         std::uint32_t{key.direction} << 24 |
         std::uint32_t{key.protocol} << 16 |
         std::uint32_t{__builtin_bswap16(key.port)};
}

// nullopt if no policy key can have this value.
inline std::optional<sluice_policy_key> unpack_l4(std::uint32_t packed) {
  const std::uint32_t length = packed >> 25;
  const auto port = static_cast<std::uint16_t>(packed & 0xffff);
  sluice_policy_key key{};
  key.prefixlen = SLUICE_PREFIX_ANY + length;
  key.direction = packed >> 24 & 1;
  key.protocol = packed >> 16 & 0xff;
  key.port = __builtin_bswap16(port);
  if (length == 0) {
    return key.protocol == 0 && port == 0 ? std::optional(key) : std::nullopt;
  }
  if (length < SLUICE_PREFIX_PROTOCOL - SLUICE_PREFIX_ANY ||
      key.prefixlen > SLUICE_PREFIX_PORT) {
    return std::nullopt;
  }
  const std::uint32_t unused = SLUICE_PREFIX_PORT - key.prefixlen;
  const std::uint32_t mask = (std::uint32_t{1} << unused) - 1;
  return (port & mask) == 0 ? std::optional(key) : std::nullopt;
}

}  // namespace sluice::wire
