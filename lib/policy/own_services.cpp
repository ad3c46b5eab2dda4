// SPDX-License-Identifier: Apache-2.0
// Pods that reach themselves through their own Services. Behind a Service a pod
// counts as allowed for itself, so a pod may get another answer than others
// with the same policies: then it has a policy set of its own. It does not
// where another backend is as good as itself to its policies, or where these
// allow it anyway; so of all backends of a port one at most is set apart. A
// ClusterNetworkPolicy that denies it holds for the pod itself too.
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

// Call before set_frontend(): notes the pods for which the answer may be
// another one, which are those behind the ports that change.
void PolicySets::note_lone(std::uint32_t cidr_id, const Resolved& now) {
  auto& stored = lone_[cidr_id];
  const auto* before = frontend(cidr_id);
  const auto touch = [&](const IpAddress& address) {
    const auto& pods = classes_.pods_at(address);
    to_split_.insert(pods.begin(), pods.end());
  };
  for (const auto& [own, address] : stored) {
    const auto it = now.lone.find(own);
    if (it == now.lone.end() || it->second != address) {
      erase_from(lone_at_, address, own);
      touch(address);
    }
  }
  for (const auto& [own, address] : now.lone) {
    lone_at_[address].insert(own);
    const auto* then = find_port(before, own.protocol, own.port);
    const auto* here = find_port(&now.ports, own.protocol, own.port);
    const auto it = stored.find(own);
    if (it == stored.end() || it->second != address || then == nullptr ||
        *then != *here) {
      touch(address);
    }
  }
  stored = now.lone;
  if (stored.empty()) {
    lone_.erase(cidr_id);
  }
}

// The pod's policies do not allow it here and allow all others behind the port.
// `all`: where it stands.
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

// Needs sets whose rules are up to date, and gives new ones that are not built
// yet. What the rules say does not depend on who is set apart, so once is
// enough.
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
  // Sets that were made and left in one go have never been.
  for (const std::uint32_t id : std::set(changes_.retired)) {
    if (changes_.created.erase(id) != 0) {
      changes_.retired.erase(id);
      dirty_.erase(id);
      discard(id);
    }
  }
}

}  // namespace sluice::policy
