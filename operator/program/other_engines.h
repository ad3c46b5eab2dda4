// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "lib/kube/api/client.h"

namespace sluice::operatord {

// Looks for kinds of policies at the API server that other engines enforce and
// Sluice does not (AdminNetworkPolicy, Calico's, Antrea's, ...), and reports
// each of them by one event about the operator's Service and one line in the
// log: whoever relies on such a policy must know that it has no effect.
//
// Belongs to the loop's thread. `client` outlives it.
class OtherEngines {
 public:
  // `ns` is the operator's namespace, `instance` the reporter that events name.
  OtherEngines(kube::Client& client, std::string ns, std::string instance);
  OtherEngines(const OtherEngines&) = delete;
  OtherEngines& operator=(const OtherEngines&) = delete;
  OtherEngines(OtherEngines&&) = delete;
  OtherEngines& operator=(OtherEngines&&) = delete;
  ~OtherEngines();

  // Only the replica that leads looks and reports.
  void set_leading(bool leads);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::operatord
