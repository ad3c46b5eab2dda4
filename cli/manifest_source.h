// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/instance/policy_source.h"
#include "cli/cluster.h"

namespace sluice::cli {

// The policies of a folder of manifests. Holds a reference to the cluster.
class ManifestSource : public instance::PolicySource {
 public:
  ManifestSource(const Cluster& cluster, std::string dir);

  void describe(instance::StatusView& view) const override;
  [[nodiscard]] instance::PolicyListView policy_list() const override;
  [[nodiscard]] std::string name_of(const IpAddress& address) const override;
  [[nodiscard]] Result<instance::ExplainView> explain(
      const instance::ExplainRequest& request) const override;

 private:
  const Cluster* cluster_;
  std::string dir_;
};

}  // namespace sluice::cli
