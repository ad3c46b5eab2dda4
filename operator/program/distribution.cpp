// SPDX-License-Identifier: Apache-2.0
#include "operator/program/distribution.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "sluice/state.h"

namespace sluice::operatord {

using op::Clock;

bool Distribution::turn(wire::Server& server, Clock::time_point read_at) {
  entries_ = 0;
  if (!std::exchange(due_, false)) {
    return false;
  }
  const auto begun = Clock::now();
  ++revision_;
  for (const auto& node : translator_.changed_nodes()) {
    auto changes = std::make_shared<Transaction>(translator_.take(node));
    if (changes->empty() && changes->rules.empty() && changes->sets.empty()) {
      continue;
    }
    entries_ = std::max(entries_, changes->entries.size());
    progress_.sent(node, changes->revision);
    server.send(node, std::move(changes));
  }
  // This comes last: a pod that the transaction just claimed must not be opened
  // by the end of its namespace's setting for unknown pods.
  for (const auto& node : store_.take_on_unknown_changes()) {
    server.set_on_unknown(node, store_.on_unknown(node));
  }
  const auto now = Clock::now();
  times_.add(now - begun);
  handed_in_ = now - read_at;
  return true;
}

void Distribution::send_snapshot(wire::Server& server,
                                 const std::string& node) {
  translator_.watch_node(node);
  const auto all = translator_.take(node);
  auto state = std::make_shared<State>();
  apply(*state, all);
  server.send_snapshot(node, all.revision, std::move(state));
  progress_.snapshot(node, all.revision);
}

}  // namespace sluice::operatord
