// SPDX-License-Identifier: Apache-2.0
// What a policy says by itself: its fields, its namespace, its addresses.
#include <algorithm>

#include "lib/lint/checks.h"
#include "lib/lint/kustomization.h"

namespace sluice::lint {

// True if that is not an accident: the pods that it selects are there, too, or
// kustomize gives the objects of its folder and those below a namespace.
bool Checks::may_be_of_default(const PolicyObject& object) const {
  const bool kustomized = std::ranges::any_of(inputs_, [&](const auto& input) {
    return is_kustomization(input.first) &&
           object.file.starts_with(folder_of(input.first));
  });
  return kustomized ||
         std::ranges::any_of(object.policy.specs, [&](const auto& spec) {
           return !population_.select(spec.subject).pods.empty();
         });
}

void Checks::check_object(const PolicyObject& object) {
  for (const auto& warning : object.policy.warnings) {
    add(object, Code::kField, warning);
  }
  if (!object.has_namespace && !may_be_of_default(object)) {
    add(object, Code::kNoNamespace,
        "metadata.namespace: is not set, so the policy is one of namespace "
        "\"default\"");
  } else if (object.has_namespace && !object.policy.key.ns.empty()) {
    check_namespace(object, "metadata.namespace", object.policy.key.ns);
  }
  for (const auto& spec : object.policy.specs) {
    for (const auto& rule : spec.rules) {
      check_addresses(object, rule);
    }
  }
}

// Single addresses, which stand in rules because somebody has looked them up.
void Checks::check_addresses(const PolicyObject& object,
                             const policy::Rule& rule) {
  for (const auto& peer : rule.peers) {
    const auto* cidr = std::get_if<policy::CidrPeer>(&peer);
    if (cidr == nullptr || cidr->cidr.length != cidr->cidr.address.bits()) {
      continue;
    }
    const auto& address = cidr->cidr.address;
    const auto service = services_.find(address);
    const auto owner = owners_.find(address);
    if (service != services_.end() &&
        rule.direction == policy::Direction::kEgress) {
      add(object, Code::kServiceAddress,
          rule.path + ": " + to_string(address) +
              " is the address of Service " + service->second +
              ", which has no effect at the Service's ports: name the pods "
              "behind it");
    } else if (owner != owners_.end() && cidr->external_only) {
      add(object, Code::kCidrInCluster,
          rule.path + ": " + to_string(address) + " is the address of " +
              owner->second +
              ", and CIDRs of Cilium's policies match nothing in the cluster "
              "(unless --cidr-match is all)");
    }
  }
}

}  // namespace sluice::lint
