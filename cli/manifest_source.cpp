// SPDX-License-Identifier: Apache-2.0
#include "cli/manifest_source.h"

#include <utility>

namespace sluice::cli {

ManifestSource::ManifestSource(const Cluster& cluster, std::string dir)
    : cluster_(&cluster), dir_(std::move(dir)) {}

void ManifestSource::describe(node::StatusView& view) const {
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

node::PolicyListView ManifestSource::policy_list() const {
  return cluster_->policy_list();
}

std::string ManifestSource::name_of(const IpAddress& address) const {
  return cluster_->store().name_of(address);
}

Result<node::ExplainView> ManifestSource::explain(
    const node::ExplainRequest& request) const {
  return cli::explain(*cluster_, request);
}

}  // namespace sluice::cli
