// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "lib/base/ip.h"

namespace sluice::explain {

// A part of a prefix: the prefix without all longer ones that are pieces of
// their own.
struct Piece {
  IpPrefix prefix;
  IpAddress sample;  // one of its addresses
};

// The address after the prefix's last one; nullopt if there is none.
std::optional<IpAddress> address_after(const IpPrefix& prefix);

// The parts into which the known prefixes divide a prefix: itself and each of
// them within it. One that longer prefixes cover altogether is no part. Sorted.
std::vector<Piece> pieces_of(const IpPrefix& prefix,
                             const std::vector<IpPrefix>& known);

}  // namespace sluice::explain
