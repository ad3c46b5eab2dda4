// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cli/scenario.h"
#include "cli/testbed.h"
#include "lib/base/result.h"
#include "lib/policy/model.h"

namespace sluice::cli {

struct FailureView {
  std::string scenario;
  std::string source;  // "file:line"
  std::string what;    // the probe, or the object
  std::string direction;
  std::string subject;
  std::string peer;  // address
  std::string expected;
  std::string actual;
  std::string reason;
  std::string policy;  // that decided
  std::string path;
  std::string entry;
  std::vector<std::string> policies;  // that isolate the subject
  std::vector<std::string> near_misses;
};

struct ScenarioReport {
  std::uint64_t probes = 0;
  std::uint64_t questions = 0;  // model or kernel lookups
  std::uint64_t unasked = 0;    // sides without a common address family
  std::vector<FailureView> failures;
  // Objects that were passed over: "file:line name: object, why".
  std::vector<std::string> notes;
};

// Packets through the loaded programs. For one thread: it moves that thread
// into a network namespace of its own.
class Kernel {
 public:
  // Needs root.
  static Result<Kernel> create();
  Kernel(Kernel&&) noexcept;
  Kernel& operator=(Kernel&&) noexcept;
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  ~Kernel();

  // Makes the maps hold one node's view: a transaction from the view before.
  Result<void> show(const State& state);

  struct Verdict {
    bool allowed = false;
    std::uint32_t reason = 0;
    std::uint32_t rule = 0;
    std::uint32_t cidr_id = 0;
    bool reported = false;  // there was an event: the three above are known
  };
  // The first packet of a flow that has not been seen before. nullopt: there is
  // no such packet (ICMP in IPv6; what a pod sends to itself).
  Result<std::optional<Verdict>> judge(const Question& question);

 private:
  Kernel();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// All probes of one scenario, by the model and, if `kernel` is given, by the
// kernel too, which has to give the same verdict for the same reason and rule.
ScenarioReport judge_scenario(const Scenario& scenario, Kernel* kernel);

}  // namespace sluice::cli
