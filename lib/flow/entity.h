// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice::flow {

// Entities by Cilium's names and numbers (pkg/identity/numericidentity.go).
struct Entity {
  std::string_view name;
  std::uint32_t identity;
};
inline constexpr std::array<Entity, 10> kEntities{{{"host", 1},
                                                   {"world", 2},
                                                   {"unmanaged", 3},
                                                   {"health", 4},
                                                   {"init", 5},
                                                   {"remote-node", 6},
                                                   {"kube-apiserver", 7},
                                                   {"ingress", 8},
                                                   {"world-ipv4", 9},
                                                   {"world-ipv6", 10}}};

constexpr std::optional<std::uint32_t> entity_identity(std::string_view name) {
  const auto* const found = std::ranges::find(kEntities, name, &Entity::name);
  return found == kEntities.end() ? std::nullopt
                                  : std::optional(found->identity);
}

}  // namespace sluice::flow
