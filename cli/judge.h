// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cli/dns_packet.h"
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
  std::uint64_t unsent = 0;     // see Kernel::take_unsent()
  std::vector<FailureView> failures;
  // Objects that were skipped: "file:line name: object, why".
  std::vector<std::string> notes;
};

// Sends packets through the loaded programs. For one thread, which it moves
// into a new network namespace.
class Kernel {
 public:
  // Needs root.
  static Result<Kernel> create();
  Kernel(Kernel&&) noexcept;
  Kernel& operator=(Kernel&&) noexcept;
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;
  ~Kernel();

  // Puts one node's view into the maps, as a transaction from the previous
  // view. `names`: endpoints learn names from now on; nothing is learned yet.
  Result<void> show(const State& state, bool names);

  struct Verdict {
    bool allowed = false;
    std::uint32_t reason = 0;
    std::uint32_t rule = 0;
    std::uint32_t cidr_id = 0;
    bool reported = false;  // there was an event: the three above are known
  };
  // Sends the first packet of a new flow. nullopt: there is no such packet
  // (ICMP in IPv6, or traffic from a pod to itself), or it is not sent.
  Result<std::optional<Verdict>> judge(const Question& question);
  enum class Asked : std::uint8_t { kDenied, kRefused, kAllowed };
  // Sends a question by DNS and, if `answered`, the answer. Both become two
  // where there are addresses of both families.
  Result<Asked> ask(const Question& question, const DnsRecords& records,
                    bool answered);
  // For what is learned, so much time passes. It does not otherwise.
  Result<void> wait(std::uint32_t seconds);
  // How many packets have not been sent since the last call: Linux 5.10 cannot
  // be told by which interface a packet enters, so every packet to a pod would
  // be taken for the node's own.
  [[nodiscard]] std::uint64_t take_unsent();

 private:
  Kernel();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Evaluates all probes of one scenario with the model and, if `kernel` is
// given, also with the kernel, which must give the same verdict for the same
// reason and rule.
ScenarioReport judge_scenario(const Scenario& scenario, Kernel* kernel);

}  // namespace sluice::cli
