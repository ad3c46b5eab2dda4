// SPDX-License-Identifier: Apache-2.0
#include "cli/learned.h"

#include <algorithm>

namespace sluice::cli {

void Learned::add(const std::string& pod, const IpAddress& address,
                  const std::vector<dns::Name>& names, std::uint64_t ttl,
                  Source source) {
  const std::uint64_t until = now_ + ttl + kGrace;
  auto& learned = learned_[{pod, address}];
  for (const auto& name : names) {
    auto& expiry = learned[name];
    expiry.any = std::max(expiry.any, until);
    if (source == Source::kResolver) {
      expiry.by_resolvers = std::max(expiry.by_resolvers, until);
    }
  }
}

std::vector<dns::Name> Learned::live(const std::string& pod,
                                     const IpAddress& address,
                                     std::uint64_t Expiry::* expiry) const {
  std::vector<dns::Name> result;
  const auto found = learned_.find({pod, address});
  if (found == learned_.end()) {
    return result;
  }
  for (const auto& [name, expires] : found->second) {
    if (now_ < expires.*expiry) {
      result.push_back(name);
    }
  }
  return result;
}

std::vector<dns::Name> Learned::names(const std::string& pod,
                                      const IpAddress& address) const {
  return live(pod, address, &Expiry::any);
}

std::vector<dns::Name> Learned::names_by_resolvers(
    const std::string& pod, const IpAddress& address) const {
  return live(pod, address, &Expiry::by_resolvers);
}

}  // namespace sluice::cli
