// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "lib/base/result.h"
#include "lib/flow/cluster.h"

namespace sluice::flow {

// One of the calls that a cluster permits at a time. The caller locks.
class Seat {
 public:
  Seat(Cluster& cluster, Places places) : cluster_(cluster), places_(places) {}
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;
  Seat(Seat&&) = delete;
  Seat& operator=(Seat&&) = delete;
  ~Seat() { leave(); }

  // In place of the seat that it has. `user`: see Cluster::enter().
  Result<void> take(const std::string& user);
  void leave();

 private:
  Cluster& cluster_;
  const Places places_;
  std::optional<std::string> user_;
};

}  // namespace sluice::flow
