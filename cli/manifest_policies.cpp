// SPDX-License-Identifier: Apache-2.0
#include "cli/manifest_policies.h"

#include <algorithm>
#include <utility>

namespace sluice::cli {

ManifestPolicies::ManifestPolicies(const Cluster& cluster, std::string dir,
                                   const LocalNode* node)
    : cluster_(&cluster), dir_(std::move(dir)), node_(node) {}

void ManifestPolicies::describe(node::StatusView& view) const {
  view.source = dir_;
  for (const auto& object : cluster_->store().objects()) {
    ++view.objects;
    if (object.policy) {
      ++view.policies;
      view.policies_invalid += object.valid ? 0 : 1;
    }
  }
  view.problems = cluster_->problems(false);
}

node::PolicyListView ManifestPolicies::policy_list() const {
  return cluster_->policy_list();
}

std::string ManifestPolicies::name_of(const IpAddress& address) const {
  auto name = cluster_->store().name_of(address);
  return name.empty() && node_ != nullptr &&
                 std::ranges::binary_search(node_->addresses, address)
             ? "node/" + node_->name
             : name;
}

Result<node::ExplainView> ManifestPolicies::explain(
    const node::ExplainRequest& request) const {
  return cli::explain(*cluster_, request);
}

Result<std::vector<node::ExplainView>> ManifestPolicies::explain_all_ports(
    const node::ExplainRequest& request) const {
  return cli::explain_all_ports(*cluster_, request);
}

Result<explain::ReachView> ManifestPolicies::reach(
    const explain::ReachRequest& request) const {
  return cli::reach(*cluster_, request);
}

}  // namespace sluice::cli
