// SPDX-License-Identifier: Apache-2.0
#include "agent/wanted_state.h"

#include <cstddef>

namespace sluice::agent {
namespace {

// How many changes may wait beside as many as the state is large.
constexpr std::size_t kSlack = 4096;

}  // namespace

void WantedState::replace(const State& state) {
  state_ = state;
  later_ = {};
}

void WantedState::add(const Transaction& transaction) {
  const auto append = [](auto& to, const auto& from) {
    to.insert(to.end(), from.begin(), from.end());
    return to.size();
  };
  const std::size_t changes = append(later_.peers, transaction.peers) +
                              append(later_.entries, transaction.entries) +
                              append(later_.endpoints, transaction.endpoints) +
                              append(later_.rules, transaction.rules) +
                              append(later_.sets, transaction.sets) +
                              append(later_.names, transaction.names) +
                              append(later_.resolvers, transaction.resolvers);
  const std::size_t size = state_.peers.size() + state_.entries.size() +
                           state_.endpoints.size() + state_.rules.size() +
                           state_.sets.size() + state_.names.size() +
                           state_.resolvers.size();
  if (changes > kSlack + size) {
    (void)get();
  }
}

const State& WantedState::get() const {
  sluice::apply(state_, later_);
  later_ = {};
  return state_;
}

}  // namespace sluice::agent
