// SPDX-License-Identifier: Apache-2.0
// Pods that reach themselves through their own Services. As a backend of a
// Service, a pod counts as allowed for itself, so it may get another result
// than other pods with the same policies. It then has a policy set of its own.
// This is not needed if another backend is equivalent to it for its policies,
// or if these allow it anyway; therefore at most one backend of a port gets its
// own set. A ClusterNetworkPolicy that denies it applies to the pod itself,
// too.
#include <algorithm>
#include <tuple>
#include <utility>

#include "lib/policy/policy_sets.h"
#include "lib/policy/policy_sets_impl.h"

namespace sluice::policy {
// True if the pod's policies do not allow the pod itself here and allow all
// other backends of the port. `all`: all backends.
bool PolicySets::counts_as_own(const SetDirection& egress, const OwnPort& own,
                               const std::set<OwnPort>& all) const {
  const auto* port = frontends_.port(own.front, own.protocol, own.port);
  if (port == nullptr) {
    return false;
  }
  const auto decide = [&](std::uint32_t target, std::uint16_t number) {
    return decide_at(candidates(egress, classes_.key(target)), egress.isolated,
                     own.protocol, number);
  };
  if (decide(own.target, own.number).denied_by_cluster_policy()) {
    return false;
  }
  const auto denied = [&](std::uint32_t target, std::uint16_t number) {
    const auto decided = decide(target, number);
    return decided.kind == Decided::Kind::kDeny ||
           (decided.kind == Decided::Kind::kDefault && egress.isolated);
  };
  return denied(own.target, own.number) &&
         std::ranges::none_of(port->targets, [&](const auto& target) {
           OwnPort other = own;
           std::tie(other.target, other.number) = target;
           return !all.contains(other) && denied(target.first, target.second);
         });
}

std::vector<OwnPort> PolicySets::own_ports(const PodRecord& pod) const {
  const auto* set = find(pod.policy_set);
  if (set == nullptr) {
    return {};
  }
  const auto& egress = set->directions[index_of(Direction::kEgress)];
  std::set<OwnPort> all;
  for (const auto& address : pod.pod.ips) {
    if (const auto* here = frontends_.own_ports_of(address)) {
      all.insert(here->begin(), here->end());
    }
  }
  std::vector<OwnPort> result;
  std::ranges::copy_if(
      all, std::back_inserter(result),
      [&](const OwnPort& own) { return counts_as_own(egress, own, all); });
  return result;
}

// Needs sets with current rules, and may create sets that are not built yet.
// The rules' results do not depend on which pods have their own set, so one
// pass is enough.
void PolicySets::split_sets() {
  for (auto* pod : std::exchange(to_split_, {})) {
    auto own = own_ports(*pod);
    const auto known = own_.find(pod);
    if (known == own_.end() ? own.empty() : known->second == own) {
      continue;
    }
    if (own.empty()) {
      own_.erase(known);
    } else {
      own_[pod] = std::move(own);
    }
    const auto before = pod->policy_set;
    assign(*pod);
    if (pod->policy_set != before) {
      changes_.moved.insert(pod);
    }
  }
  to_split_.clear();
  // Sets that were created and left in the same pass never existed.
  for (const std::uint32_t id : std::set(changes_.retired)) {
    if (changes_.created.erase(id) != 0) {
      changes_.retired.erase(id);
      dirty_.erase(id);
      discard(id);
    }
  }
}

}  // namespace sluice::policy
