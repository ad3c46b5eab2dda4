// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
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
  // Of a map of learned addresses.
  using Elements = std::vector<std::pair<sluice_learned_key, sluice_learned>>;
  // What is known from an earlier state; to be emptied before begin().
  static constexpr std::array kMaps{agent::Map::kLearned, agent::Map::kNames,
                                    agent::Map::kQuestions,
                                    agent::Map::kResolvers};

  // Endpoints learn names from now on. `datapath` must outlive this object.
  Result<void> begin(agent::Datapath& datapath, const State& state,
                     const Interfaces& interfaces);
  // Runs `step`, in which endpoints learn addresses or packets are judged by
  // what they have learned, within one second of the kernel's clock. If the
  // clock goes on meanwhile, what `step` has changed is undone and it runs
  // again. Gives what `step` returned, or an error if each try took too long.
  template <typename Step>
  std::invoke_result_t<Step> within_a_second(const Step& step) {
    for (int tries = 0; tries < kTriesMax; ++tries) {
      if (auto followed = follow_clock(); !followed) {
        return std::unexpected(followed.error());
      }
      const auto before = read_learned();
      if (!before) {
        return std::unexpected(before.error());
      }
      auto result = step();
      if (!clock_has_gone_on()) {
        return result;
      }
      if (auto undone = write_learned(*before, 0); !undone) {
        return std::unexpected(undone.error());
      }
    }
    return fail("a step with DNS names took longer than a second, each time");
  }
  // For what is learned, so much time passes.
  Result<void> pass(std::uint32_t seconds);
  // Comes to know the names of a message that is held, and sends it on, where
  // nobody is.
  void meet();

 private:
  static constexpr int kTriesMax = 10;
  // What endpoints have learned: the elements of the map of each interface.
  using LearnedByInterface = std::map<std::uint32_t, Elements>;

  // Empty while nobody learns anything.
  [[nodiscard]] Result<LearnedByInterface> read_learned() const;
  // Makes it what endpoints have learned, with expiries that much later.
  [[nodiscard]] Result<void> write_learned(const LearnedByInterface& learned,
                                           std::int64_t seconds) const;
  // Undoes what real time has changed since the last call.
  Result<void> follow_clock();
  [[nodiscard]] bool clock_has_gone_on() const;
  [[nodiscard]] Result<void> shift_learned(std::int64_t seconds) const;

  std::unique_ptr<agent::Learning> learning_;
  int learned_fd_ = -1;  // the map of all endpoints; the datapath's
  Interfaces interfaces_;
  std::uint32_t clock_ = 0;  // the kernel's time for which expiries are right
};

// Removes every element of a hash, whose key has up to 64 bytes.
Result<void> empty_map(int fd);

// The packets of a question by DNS and, if `answered`, its answer, each with
// its direction at the subject. `v6`: about addresses of IPv6. `number` makes
// the flow new.
std::vector<std::pair<policy::Direction, packet::Bytes>> dns_exchange(
    const Question& question, const DnsRecords& records, bool v6, bool answered,
    std::uint16_t number);

}  // namespace sluice::cli
