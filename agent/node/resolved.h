// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/node/policy_info.h"
#include "lib/base/ip.h"
#include "lib/base/result.h"
#include "lib/explain/view.h"

// What the endpoints of a node have resolved by DNS, for people.
namespace sluice::node {

// A name that an endpoint has resolved, with one of its addresses.
struct ResolvedName {
  std::string endpoint;
  std::string name;
  IpAddress address;
  std::int64_t expires_in = 0;           // seconds; negative: it has expired
  std::vector<std::uint32_t> selectors;  // that match the name
};

// By endpoint, name and address.
std::vector<ResolvedName> resolved_names(const agent::Agent& agent);
// The names by which an endpoint has resolved an address, the last one first;
// at most `max`.
std::vector<std::string> names_of(
    const agent::Agent& agent, std::uint32_t ifindex, const IpAddress& address,
    std::size_t max = std::numeric_limits<std::size_t>::max());

// Who has the address: its owner, else the DNS name by which the endpoint
// behind the interface has resolved it last, else nobody known.
std::string owner_or_name(const PolicyInfo& policies, const agent::Agent& agent,
                          std::uint32_t ifindex, const IpAddress& address);

// If the receiver is a DNS name, puts the address in its place to which the
// sender has resolved it, as the one that expires last. Adds the names by which
// the sender has resolved the receiver's address and that have not expired.
// Fails if the sender has not resolved the name.
Result<explain::ExplainRequest> with_names(const agent::Agent& agent,
                                           explain::ExplainRequest request);

}  // namespace sluice::node
