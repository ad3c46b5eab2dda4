// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "agent/node/policy_info.h"
#include "lib/base/result.h"

namespace sluice::cli {

// The way to a cluster's operator.
struct OperatorAccess {
  std::filesystem::path kubeconfig;  // empty: as for kubectl
  std::string context;               // empty: the current one
  std::string ns = "sluice-system";  // of the operator
  std::string service = "sluice-operator";
};

// Asks the operator of a cluster through the API server. Needs the rights of
// the Role sluice-explain. Waits for some seconds at most.
Result<node::ExplainView> ask_operator(const OperatorAccess& access,
                                       const node::ExplainRequest& request);

}  // namespace sluice::cli
