// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lib/base/ip.h"
#include "lib/dns/name.h"

namespace sluice::cli {

// The addresses that pods have learned for names, as a node's programs would
// keep them with default options, in a scenario's own time.
class Learned {
 public:
  // Added to every answer's TTL.
  static constexpr std::uint64_t kGrace = 30;

  // Who has answered: one of the cluster's resolvers, or another server that a
  // policy lets the pod ask.
  enum class Source : std::uint8_t { kResolver, kPolicy };

  void wait(std::uint64_t seconds) { now_ += seconds; }
  void add(const std::string& pod, const IpAddress& address,
           const std::vector<dns::Name>& names, std::uint64_t ttl,
           Source source);
  // The names for which the pod knows the address now.
  [[nodiscard]] std::vector<dns::Name> names(const std::string& pod,
                                             const IpAddress& address) const;
  // Of these, the names by the answers of resolvers.
  [[nodiscard]] std::vector<dns::Name> names_by_resolvers(
      const std::string& pod, const IpAddress& address) const;

 private:
  struct Expiry {
    std::uint64_t any = 0;
    std::uint64_t by_resolvers = 0;
  };
  using Names = std::map<dns::Name, Expiry>;

  [[nodiscard]] std::vector<dns::Name> live(
      const std::string& pod, const IpAddress& address,
      std::uint64_t Expiry::* expiry) const;

  std::uint64_t now_ = 0;  // seconds
  std::map<std::pair<std::string, IpAddress>, Names> learned_;
};

}  // namespace sluice::cli
