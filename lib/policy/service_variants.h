// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/policy/peer_classes.h"
#include "lib/policy/services.h"

// What is behind an address, as seen from a place in the cluster.
namespace sluice::policy {

// A port of an address with its backends. Refers to data of Services.
struct BehindPort {
  std::string name;  // the Service's, or host_ports_of() a node
  const ServicePortView* view = nullptr;
  std::uint16_t number = 0;  // of the port at the address
  const std::vector<Backend>* backends = nullptr;
};

// The ports of Services and the host ports at the address.
std::vector<BehindPort> ports_behind(const Services& services,
                                     const PeerClasses& classes,
                                     const IpAddress& address,
                                     const Site& site);
// The node ports of all Services.
std::vector<BehindPort> node_ports_behind(const Services& services, bool v6);

// Tells the classes how places differ in what is behind an address, for all
// addresses for which this may have changed. Call after PeerClasses::update().
void update_variants(const Services& services, PeerClasses& classes);

}  // namespace sluice::policy
