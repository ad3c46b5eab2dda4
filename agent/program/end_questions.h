// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "agent/node/source.h"
#include "lib/base/ip.h"
#include "lib/wire/client.h"

namespace sluice::agentd {

// Asks the operator who has the addresses of flows, one question at a time and
// a few a second, which is what the operator takes from one agent. Belongs to
// the daemon's thread.
class EndQuestions {
 public:
  using Learn = node::Source::LearnEnd;
  explicit EndQuestions(wire::Client& client) : client_(&client) {}

  // False if nothing can be asked now; the caller comes again.
  bool ask(const std::vector<IpAddress>& addresses, const Learn& learn);
  // False if it answers another question.
  bool on_answer(const wire::Answer& answer);
  // The operator answers nothing more that was asked before.
  void on_disconnect() { addresses_.clear(); }

 private:
  using Clock = std::chrono::steady_clock;
  // Numbers of questions that no one else uses; see Questions.
  static constexpr std::uint64_t kFirstId = std::uint64_t{1} << 62;

  wire::Client* client_;
  std::uint64_t id_ = kFirstId;       // of the last question
  std::vector<IpAddress> addresses_;  // that it is about; empty: none is open
  Learn learn_;
  Clock::time_point next_;  // when the next one may be asked
};

}  // namespace sluice::agentd
