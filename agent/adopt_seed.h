// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "agent/adopt_flow.h"
#include "lib/base/ip.h"
#include "sluice/abi.h"

namespace sluice::agent {

// An entry of conntrack as the programs on a pod's veth would have made it, had
// they seen the flow begin.
struct Seed {
  std::uint32_t ifindex = 0;
  IpAddress remote;
  __be16 local_port = 0;
  __be16 remote_port = 0;
  std::uint8_t protocol = 0;
  std::uint8_t opened_by = SLUICE_INGRESS;  // enum sluice_direction
  std::uint8_t state = 0;                   // enum sluice_conntrack_state
  // With SLUICE_CT_MASQUERADED: who opened it.
  std::optional<IpAddress> origin;

  bool operator==(const Seed&) const = default;
};

// Which interface has which of the addresses that flows are wanted of.
using AdoptedAddresses = std::unordered_map<IpAddress, std::uint32_t>;
// All addresses of the node itself, in any of its devices.
using NodeAddresses = std::unordered_set<IpAddress>;

// The entries that a flow is given: none if it is over or not one of
// `adopted`; two if both its ends are, or a pod reaches itself through a
// Service.
//
// The addresses and ports are those that the veth sees. A flow that the pod has
// opened shows there what the pod wrote: a Service's address, not the
// backend's. A flow to the pod shows what the node has made of it: the pod's
// address, and the node's where the source is masqueraded.
std::vector<Seed> seeds_of(const TrackedFlow& flow,
                           const AdoptedAddresses& adopted,
                           const NodeAddresses& node);

// True if the kernel has begun to track a TCP connection in its middle: who
// opened it is then unknown, because the kernel takes whoever spoke first for
// the opener. seeds_of() gives nothing for it.
bool is_picked_up(const TrackedFlow& flow);

}  // namespace sluice::agent
