// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/node/policy_source.h"
#include "cli/cluster.h"

namespace sluice::cli {

// The policies of a folder of manifests. Holds a reference to the cluster.
class ManifestSource : public node::PolicySource {
 public:
  ManifestSource(const Cluster& cluster, std::string dir);

  void describe(node::StatusView& view) const override;
  [[nodiscard]] node::PolicyListView policy_list() const override;
  [[nodiscard]] std::string name_of(const IpAddress& address) const override;
  [[nodiscard]] Result<node::ExplainView> explain(
      const node::ExplainRequest& request) const override;

 private:
  const Cluster* cluster_;
  std::string dir_;
};

}  // namespace sluice::cli
