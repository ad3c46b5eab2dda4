// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "lib/base/durations.h"
#include "lib/policy/translator.h"
#include "lib/wire/server.h"
#include "operator/cluster_store.h"
#include "operator/enforcement.h"

namespace sluice::operatord {

// Sends the agents of this replica what the translator has for them, and notes
// it in their progress. Belongs to the loop's thread.
class Distribution {
 public:
  // All arguments must outlive this object.
  Distribution(policy::Translator& translator, op::ClusterStore& store,
               op::NodeProgress& progress)
      : translator_(translator), store_(store), progress_(progress) {}

  // `changed`: something was taken in that may concern agents.
  void note(bool changed) { due_ = changed || due_; }
  // If anything was noted since the last call, sends each agent the changes
  // that affect it, as one transaction; what is noted meanwhile is for the next
  // call. Returns whether it was. `read_at`: when the first event was read.
  bool turn(wire::Server& server, op::Clock::time_point read_at);
  // Sends the whole view of a node.
  void send_snapshot(wire::Server& server, const std::string& node);

  // Changes of policy entries that the last call of turn() has sent to the
  // agent that gets most.
  [[nodiscard]] std::size_t entries() const { return entries_; }
  // Number of sets of changes passed to the agents' streams, how long each took
  // to be sent, and the time from `read_at` to the end of the last one.
  [[nodiscard]] std::uint64_t revision() const { return revision_; }
  [[nodiscard]] const Durations& times() const { return times_; }
  [[nodiscard]] std::chrono::nanoseconds handed_in() const {
    return handed_in_;
  }

 private:
  policy::Translator& translator_;
  op::ClusterStore& store_;
  op::NodeProgress& progress_;
  bool due_ = false;
  std::size_t entries_ = 0;
  std::uint64_t revision_ = 0;
  Durations times_;
  std::chrono::nanoseconds handed_in_{};
};

}  // namespace sluice::operatord
