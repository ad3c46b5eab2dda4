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

// A conntrack entry as the programs on a pod's veth would have made it if they
// had seen the flow begin.
struct Seed {
  std::uint32_t ifindex = 0;
  IpAddress remote;
  __be16 local_port = 0;
  __be16 remote_port = 0;
  std::uint8_t protocol = 0;
  std::uint8_t opened_by = SLUICE_INGRESS;  // enum sluice_direction
  std::uint8_t state = 0;                   // enum sluice_conntrack_state
  // With SLUICE_CT_MASQUERADED: the address that opened the flow.
  std::optional<IpAddress> origin;

  bool operator==(const Seed&) const = default;
};

// The addresses whose flows are adopted, and their interfaces.
using AdoptedAddresses = std::unordered_map<IpAddress, std::uint32_t>;
// All addresses of the node itself, on any of its devices.
using NodeAddresses = std::unordered_set<IpAddress>;

// Returns the entries for a flow: none if the flow has ended or has no end in
// `adopted`; two if both ends are in it, or if a pod reaches itself through a
// Service.
//
// The addresses and ports are those seen at the veth. For a flow that the pod
// has opened, they are what the pod sent: a Service's address, not the
// backend's. For a flow to the pod, they are the result of the node's
// translation: the pod's address, and the node's address if the source is
// masqueraded.
std::vector<Seed> seeds_of(const TrackedFlow& flow,
                           const AdoptedAddresses& adopted,
                           const NodeAddresses& node);

// True if the kernel has begun to track a TCP connection in its middle. It is
// then unknown which end opened it, because the kernel takes the end that it
// saw first for the opener. seeds_of() returns nothing for such a flow.
bool is_picked_up(const TrackedFlow& flow);

}  // namespace sluice::agent
