// SPDX-License-Identifier: Apache-2.0
// What a policy says by itself: its fields, its namespace, its addresses.
#include <algorithm>
#include <string_view>

#include "lib/lint/checks.h"

namespace sluice::lint {
namespace {

std::string_view folder_of(std::string_view file) {
  const auto slash = file.rfind('/');
  return slash == std::string_view::npos ? std::string_view{}
                                         : file.substr(0, slash + 1);
}

bool is_kustomization(std::string_view file) {
  const auto name = file.substr(folder_of(file).size());
  return name == "kustomization.yaml" || name == "kustomization.yml";
}

}  // namespace

void Checks::check_object(const PolicyObject& object) {
  for (const auto& warning : object.policy.warnings) {
    add(object, Code::kField, warning);
  }
  // kustomize may give the objects of its folder and those below a namespace.
  const bool kustomized = std::ranges::any_of(inputs_, [&](const auto& input) {
    return is_kustomization(input.first) &&
           object.file.starts_with(folder_of(input.first));
  });
  if (!object.has_namespace && !kustomized) {
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
          rule.path + ": " + to_string(address) + " is the address of Service " +
              service->second +
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
