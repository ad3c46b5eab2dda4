// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/reach_outside.h"

#include <algorithm>
#include <cstddef>

#include "lib/explain/pieces.h"

namespace sluice::explain {
namespace {

// How many taken addresses and longer prefixes are passed by.
constexpr std::size_t kStepsMax = 100'000;

}  // namespace

void ReachRegions::add(const IpPrefix& prefix) {
  if (index_.insert(prefix).second) {
    prefixes_.insert(prefix);
    lengths_.insert(prefix.length);
  }
}

// The shortest of them.
std::optional<IpPrefix> ReachRegions::longer_with(
    const IpPrefix& prefix, const IpAddress& address) const {
  for (auto length = lengths_.upper_bound(prefix.length);
       length != lengths_.end() && *length <= address.bits(); ++length) {
    const auto candidate = make_prefix(address, *length);
    if (index_.contains(candidate)) {
      return candidate;
    }
  }
  return std::nullopt;
}

void ReachRegions::add(const ReachRegions& other) {
  for (const auto& prefix : other.prefixes_) {
    add(prefix);
  }
  translators_.insert(translators_.end(), other.translators_.begin(),
                      other.translators_.end());
}

bool ReachRegions::is_free(const IpAddress& address) const {
  return std::ranges::all_of(
      translators_, [&](const policy::Translator* translator) {
        const auto found = translator->occupant(address);
        return found.pod.empty() && found.node.empty() &&
               found.services.empty() && !found.api_server;
      });
}

std::optional<IpAddress> ReachRegions::address_in(
    const IpPrefix& prefix) const {
  std::optional<IpAddress> address = prefix.address;
  if (prefix.length == 0) {  // one that means nothing to a reader
    address = parse_ip(prefix.address.v6 ? "2001:db8::1" : "192.0.2.1");
    if (!longer_with(prefix, *address) && is_free(*address)) {
      return address;
    }
    address = parse_ip(prefix.address.v6 ? "2000::" : "1.0.0.0");
  }
  for (std::size_t step = 0; step < kStepsMax; ++step) {
    if (!address || !prefix.contains(*address)) {
      return std::nullopt;
    }
    if (const auto longer = longer_with(prefix, *address)) {
      address = address_after(*longer);
    } else if (is_free(*address)) {
      return address;
    } else {
      address = address_after(host_prefix(*address));
    }
  }
  return std::nullopt;
}

}  // namespace sluice::explain
