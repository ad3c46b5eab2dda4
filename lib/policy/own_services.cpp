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
namespace {

const FrontendPort* find_port(const std::vector<FrontendPort>* ports,
                              std::uint8_t protocol, std::uint16_t number) {
  if (ports == nullptr) {
    return nullptr;
  }
  const auto key = [](const FrontendPort& port) {
    return std::tuple(port.protocol, port.port);
  };
  const auto it =
      std::ranges::lower_bound(*ports, std::tuple(protocol, number), {}, key);
  return it != ports->end() && key(*it) == std::tuple(protocol, number)
             ? &*it
             : nullptr;
}

}  // namespace

// To be called before set_frontend(): records the pods for which the result may
// change, which are the backends of the ports that change.
void PolicySets::note_lone(std::uint32_t cidr_id, const Resolved& now) {
  auto& stored = lone_[cidr_id];
  const auto* before = frontend(cidr_id);
  const auto touch = [&](const IpAddress& address) {
    const auto& pods = classes_.pods_at(address);
    to_split_.insert(pods.begin(), pods.end());
  };
  const auto contains = [](const LoneBackends& lone, const OwnPort& own,
                           const IpAddress& address) {
    const auto it = lone.find(own);
    return it != lone.end() && it->second.contains(address);
  };
  for (const auto& [own, addresses] : stored) {
    for (const auto& address : addresses) {
      if (!contains(now.lone, own, address)) {
        erase_from(lone_at_, address, own);
        touch(address);
      }
    }
  }
  for (const auto& [own, addresses] : now.lone) {
    const auto* then = find_port(before, own.protocol, own.port);
    const auto* here = find_port(&now.ports, own.protocol, own.port);
    const bool changed = then == nullptr || *then != *here;
    for (const auto& address : addresses) {
      lone_at_[address].insert(own);
      if (changed || !contains(stored, own, address)) {
        touch(address);
      }
    }
  }
  stored = now.lone;
  if (stored.empty()) {
    lone_.erase(cidr_id);
  }
}

// True if the pod's policies do not allow the pod itself here and allow all
// other backends of the port. `all`: all backends.
bool PolicySets::counts_as_own(const SetDirection& egress, const OwnPort& own,
                               const std::set<OwnPort>& all) const {
  const auto* port = find_port(frontend(own.front), own.protocol, own.port);
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
    const auto it = lone_at_.find(address);
    if (it != lone_at_.end()) {
      all.insert(it->second.begin(), it->second.end());
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
