// SPDX-License-Identifier: Apache-2.0
#include "agent/node/ends.h"

#include <algorithm>
#include <utility>

namespace sluice::node {

Ends::End Ends::find(const IpAddress& address, Clock::time_point now) {
  auto found = known_.find(address);
  if (found == known_.end()) {
    make_room();
    found =
        known_.emplace(address, Known{.end = nullptr, .ask_after = now}).first;
  }
  Known& known = found->second;
  const bool valid = known.end && now < known.valid_until;
  // Addresses that nobody waits for leave room for those that somebody does.
  if (now >= known.ask_after &&
      missed_.size() < (valid ? kAskMax / 2 : kAskMax)) {
    known.ask_after = now + kAskAgain;
    missed_.insert(address);
  }
  return valid ? known.end : nullptr;
}

void Ends::learn(const IpAddress& address, flow::End end,
                 Clock::time_point now) {
  const auto found = known_.find(address);
  if (found == known_.end()) {
    return;
  }
  Known& known = found->second;
  known.ask_after = now + kFresh;
  known.valid_until = now + kValid;
  if (!known.end || *known.end != end) {
    known.end = std::make_shared<const flow::End>(std::move(end));
  }
}

void Ends::turn() {
  if (!missed_.empty() && ask_({missed_.begin(), missed_.end()})) {
    missed_.clear();
  }
}

// Whatever is hashed first goes: there is no order among addresses that would
// be worth its memory, and the one that goes is asked for again.
void Ends::make_room() {
  if (known_.size() >= kMax) {
    known_.erase(known_.begin());
  }
}

}  // namespace sluice::node
