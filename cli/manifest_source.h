// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "cli/cluster.h"
#include "cli/policy_source.h"

namespace sluice::cli {

// The policies of a folder of manifests. Refers to the cluster.
class ManifestSource : public PolicySource {
 public:
  ManifestSource(const Cluster& cluster, std::string dir);

  void describe(StatusView& view) const override;
  [[nodiscard]] PolicyListView policy_list() const override;
  [[nodiscard]] std::string name_of(const IpAddress& address) const override;
  [[nodiscard]] Result<ExplainView> explain(
      const ExplainRequest& request) const override;

 private:
  const Cluster* cluster_;
  std::string dir_;
};

}  // namespace sluice::cli
