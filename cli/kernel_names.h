// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/datapath.h"
#include "agent/learning.h"
#include "cli/dns_packet.h"
#include "cli/packet.h"
#include "cli/testbed.h"
#include "lib/base/result.h"
#include "sluice/state.h"

namespace sluice::cli {

// How endpoints learn names in the kernel of a scenario, where time passes in
// the scenario's steps alone. Until begin(), nobody learns anything.
class KernelNames {
 public:
  using Interfaces = std::map<std::string, std::uint32_t>;  // of endpoints
  // What is known from an earlier state; to be emptied before begin().
  static constexpr std::array kMaps{agent::Map::kLearned, agent::Map::kNames,
                                    agent::Map::kQuestions,
                                    agent::Map::kResolvers};

  // Endpoints learn names from now on. `datapath` must outlive this object.
  Result<void> begin(agent::Datapath& datapath, const State& state,
                     const Interfaces& interfaces);
  // Undoes what real time has changed since the last call.
  Result<void> follow_clock();
  // For what is learned, so much time passes.
  Result<void> pass(std::uint32_t seconds);
  // Comes to know the names of a message that is held, and sends it on, where
  // nobody is.
  void meet();

 private:
  Result<void> shift_learned(std::int64_t seconds);

  std::unique_ptr<agent::Learning> learning_;
  int learned_fd_ = -1;  // the map of all endpoints; the datapath's
  Interfaces interfaces_;
  std::uint32_t clock_ = 0;  // the kernel's time for which expiries are right
};

// The packets of a question by DNS and, if `answered`, its answer, each with
// its direction at the subject. `v6`: about addresses of IPv6. `number` makes
// the flow new.
std::vector<std::pair<policy::Direction, packet::Bytes>> dns_exchange(
    const Question& question, const DnsRecords& records, bool v6, bool answered,
    std::uint16_t number);

}  // namespace sluice::cli
