// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "agent/node/policy_info.h"
#include "cli/cluster.h"
#include "lib/base/ip.h"

namespace sluice::cli {

// The node on which `sluice run` enforces.
struct LocalNode {
  std::string name;
  std::vector<IpAddress> addresses;  // sorted
};

// The policies of a folder of manifests. Holds references to the cluster and
// the node.
class ManifestPolicies : public node::PolicyInfo {
 public:
  ManifestPolicies(const Cluster& cluster, std::string dir,
                   const LocalNode* node = nullptr);

  void describe(node::StatusView& view) const override;
  [[nodiscard]] node::PolicyListView policy_list() const override;
  [[nodiscard]] std::string name_of(const IpAddress& address) const override;
  [[nodiscard]] Result<node::ExplainView> explain(
      const node::ExplainRequest& request) const override;
  [[nodiscard]] Result<std::vector<node::ExplainView>> explain_all_ports(
      const node::ExplainRequest& request) const override;
  [[nodiscard]] Result<explain::ReachView> reach(
      const explain::ReachRequest& request) const override;

 private:
  const Cluster* cluster_;
  std::string dir_;
  const LocalNode* node_;
};

}  // namespace sluice::cli
