// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sluice/state.h"

namespace sluice::agent {

// The wanted state, sorted only when somebody looks: keeping it sorted would
// make every transaction cost as much as the state is large. A value; not
// thread-safe, get() neither.
class WantedState {
 public:
  void replace(const State& state);
  void add(const Transaction& transaction);
  // Valid until the next call of a member.
  [[nodiscard]] const State& get() const;

 private:
  mutable State state_;
  mutable Transaction later_;  // not in state_ yet
};

}  // namespace sluice::agent
