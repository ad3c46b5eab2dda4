// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/flow/record.h"
#include "lib/flow/top_counts.h"

namespace sluice::flow {

// How many flows there have been: of each workload, of each policy and rule,
// and of the pairs of workloads that are denied most. Bounded, whatever flows
// there are. One thread.
class FlowCounts {
 public:
  using Clock = std::chrono::steady_clock;

  // Of the pod whose policy has decided.
  struct Workload {
    std::string ns;
    std::string name;            // a pod without a workload: its own
    std::uint8_t direction = 0;  // enum sluice_direction
    std::uint8_t reason = 0;     // enum sluice_reason
    bool allowed = false;
    auto operator<=>(const Workload&) const = default;
  };
  struct Rule {
    std::string policy;  // "NetworkPolicy/shop/web"
    std::string path;    // of the rule; empty for the default deny
    std::uint8_t direction = 0;
    bool allowed = false;
    auto operator<=>(const Rule&) const = default;
  };
  // Whose ends are workloads, Services or entities such as "world", so that
  // nobody outside can make many of them.
  struct Pair {
    std::string source_ns;
    std::string source;
    std::string destination_ns;
    std::string destination;
    auto operator<=>(const Pair&) const = default;
  };

  // `series_max`: workloads and rules, of each so many; 0: nothing is counted.
  explicit FlowCounts(std::size_t series_max);

  // Cheap: what it takes more for waits for turn().
  void add(const Record& record);
  // To be called every second; view() has what there was before.
  void turn(Clock::time_point now);

  struct View {
    Counted<Workload> workloads;
    Counted<Rule> rules;
    std::vector<std::pair<Pair, std::uint64_t>> denied;
  };
  [[nodiscard]] View view() const;

 private:
  // The same flows have the same immutable objects, most of the time.
  struct Decided {
    const End* end = nullptr;
    const Decision* decision = nullptr;
    std::uint8_t direction = 0;
    std::uint8_t reason = 0;
    bool allowed = false;
    bool operator==(const Decided&) const = default;
  };
  struct Ends {
    const End* from = nullptr;
    const End* to = nullptr;
    bool operator==(const Ends&) const = default;
  };
  struct Hash {
    std::size_t operator()(const Decided& key) const;
    std::size_t operator()(const Ends& key) const;
  };
  struct OfDecided {
    std::shared_ptr<const End> end;
    std::shared_ptr<const Decision> decision;
    std::uint64_t flows = 0;
  };
  struct OfEnds {
    std::shared_ptr<const End> from;
    std::shared_ptr<const End> to;
    std::uint64_t flows = 0;
  };
  void fold(Clock::time_point now);
  void fold_rules(const Decided& key, const OfDecided& value,
                  Clock::time_point now);

  bool counts_;
  std::unordered_map<Decided, OfDecided, Hash> decided_;  // since fold()
  std::unordered_map<Ends, OfEnds, Hash> denied_;         // likewise
  BoundedCounts<Workload> workloads_;
  BoundedCounts<Rule> rules_;
  TopCounts<Pair> pairs_;
};

}  // namespace sluice::flow
