// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/reference/world.h"

// What stands behind the addresses of Services.
namespace sluice::reference {

struct Behind {
  IpAddress address;
  int port = 0;
};

// Where a new connection from a pod of `node` to this address and port may be
// sent to; empty if there is no endpoint; nullopt if no Service and no pod has
// the port there.
std::optional<std::vector<Behind>> behind(const World& world,
                                          const std::string& node,
                                          const IpAddress& address,
                                          std::uint8_t protocol, int port);

// The address and port are those of the cluster's DNS, or of a pod of it.
bool is_resolver(const World& world, const IpAddress& address,
                 std::uint8_t protocol, int port);

// The peer is one of those that an element of toServices means. `ns`: the
// policy's namespace, empty if it has none.
bool is_behind(const json& element, const std::string& ns, const World& world,
               const Peer& peer);

}  // namespace sluice::reference
