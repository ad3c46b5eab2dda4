// SPDX-License-Identifier: Apache-2.0
#include "cli/learned.h"

#include <algorithm>

namespace sluice::cli {

void Learned::add(const std::string& pod, const IpAddress& address,
                  const std::vector<dns::Name>& names, std::uint64_t ttl) {
  auto& learned = learned_[{pod, address}];
  for (const auto& name : names) {
    auto& expires = learned[name];
    expires = std::max(expires, now_ + ttl + kGrace);
  }
}

std::vector<dns::Name> Learned::names(const std::string& pod,
                                      const IpAddress& address) const {
  std::vector<dns::Name> result;
  const auto found = learned_.find({pod, address});
  if (found == learned_.end()) {
    return result;
  }
  for (const auto& [name, expires] : found->second) {
    if (now_ < expires) {
      result.push_back(name);
    }
  }
  return result;
}

}  // namespace sluice::cli
