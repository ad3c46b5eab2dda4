// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <set>
#include <unordered_set>
#include <vector>

#include "lib/base/ip.h"
#include "lib/policy/translator.h"

namespace sluice::explain {

// The prefixes that rules name, as the regions into which they cut the
// addresses outside of the cluster: a region is a prefix without the longer
// ones in it.
class ReachRegions {
 public:
  explicit ReachRegions(const policy::Translator& translator)
      : translators_{&translator} {}

  void add(const IpPrefix& prefix);
  // Adds another world's, whose pods, nodes and Services count, too.
  void add(const ReachRegions& other);
  [[nodiscard]] const std::set<IpPrefix>& prefixes() const { return prefixes_; }
  // An address of the prefix that is in no longer one, and that no pod, node or
  // Service has; nullopt if there is none, or none soon.
  [[nodiscard]] std::optional<IpAddress> address_in(
      const IpPrefix& prefix) const;
  // True if no pod, node or Service has the address, nor an API server.
  [[nodiscard]] bool is_free(const IpAddress& address) const;

 private:
  [[nodiscard]] std::optional<IpPrefix> longer_with(
      const IpPrefix& prefix, const IpAddress& address) const;

  std::vector<const policy::Translator*> translators_;
  std::set<IpPrefix> prefixes_;
  std::unordered_set<IpPrefix> index_;
  std::set<int> lengths_;
};

}  // namespace sluice::explain
