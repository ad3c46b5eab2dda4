// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include "lib/base/ip.h"
#include "lib/base/result.h"

namespace sluice::kube {

struct Cidr {
  IpPrefix prefix;    // host bits cleared
  IpAddress address;  // as written, host bits included
};

// "address/length" as the API server accepts it: no bare address, no IPv4
// address in IPv6 notation. The error describes the mistake.
Result<Cidr> parse_cidr(std::string_view text);

// The same as API servers before 1.36 read it: leading zeros are ignored, and
// an IPv4 address in IPv6 notation with at least 96 bits of prefix is an IPv4
// prefix. nullopt if they refused it too.
std::optional<IpPrefix> parse_stored_cidr(std::string_view text);

}  // namespace sluice::kube
