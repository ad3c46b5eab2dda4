// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <set>
#include <string>

#include "lib/policy/rule.h"
#include "lib/policy/services.h"

namespace sluice::policy {

// The datapath keeps pods from the tunnel ports of nodes, but a Service can
// lead there from an address and a port of its own: kube-proxy rewrites the
// packet after it has left the pod. As long as there is such a Service, a
// policy that comes before all others denies these ports of nodes, and what is
// behind a Service decides about its address. Used by one thread.
class TunnelGuard {
 public:
  // Takes in `services.changes()`.
  void look_at(const Services& services);
  // Pods of the namespace may, or may not, use tunnels.
  void permit(const std::string& ns, bool permitted);
  [[nodiscard]] static const PolicyKey& key();
  // What is to apply now; nullopt: nothing.
  [[nodiscard]] std::optional<Policy> policy() const;
  // True if policy() may be another than at the last call.
  [[nodiscard]] bool take_changed();

 private:
  std::set<std::string> services_;   // that lead to a tunnel port
  std::set<std::string> permitted_;  // namespaces
  bool changed_ = false;
};

}  // namespace sluice::policy
