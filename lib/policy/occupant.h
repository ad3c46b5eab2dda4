// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace sluice::policy {

// What the cluster's objects say about an address. Members are empty where they
// say nothing.
struct Occupant {
  std::string pod;                    // "namespace/name"
  std::string node;                   // one that has the address
  std::vector<std::string> services;  // "namespace/name", whose address it is
  bool api_server = false;            // an API server listens there
};

}  // namespace sluice::policy
