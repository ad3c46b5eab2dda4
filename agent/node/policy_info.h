// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "agent/node/views.h"
#include "lib/base/ip.h"
#include "lib/base/result.h"
#include "lib/explain/reach_view.h"

namespace sluice::node {

using explain::ExplainRequest;

// What answers need to know of the policies and their objects. Every source of
// policies has its own.
class PolicyInfo {
 public:
  PolicyInfo() = default;
  PolicyInfo(const PolicyInfo&) = delete;
  PolicyInfo& operator=(const PolicyInfo&) = delete;
  PolicyInfo(PolicyInfo&&) = delete;
  PolicyInfo& operator=(PolicyInfo&&) = delete;
  virtual ~PolicyInfo() = default;

  // Fills in the source, its objects and their problems.
  virtual void describe(StatusView& view) const = 0;
  [[nodiscard]] virtual PolicyListView policy_list() const = 0;
  // Returns the owner of an address, "namespace/pod" or "node/name"; empty if
  // unknown.
  [[nodiscard]] virtual std::string name_of(const IpAddress& address) const = 0;
  // Why name_of() lacks names; empty if it does not.
  [[nodiscard]] virtual std::string names_problem() const { return {}; }
  [[nodiscard]] virtual Result<ExplainView> explain(
      const ExplainRequest& request) const = 0;
  // The same for every port that makes a difference; see
  // explain::explain_all_ports(). Fails as reach() does.
  [[nodiscard]] virtual Result<std::vector<ExplainView>> explain_all_ports(
      const ExplainRequest& request) const = 0;
  // Who may reach whom. Fails where the objects of the whole cluster are not
  // known.
  [[nodiscard]] virtual Result<explain::ReachView> reach(
      const explain::ReachRequest& request) const = 0;
};

}  // namespace sluice::node
