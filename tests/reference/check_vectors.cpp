// SPDX-License-Identifier: Apache-2.0
// Runs scenario files through the reference evaluator.
// usage: check_vectors file...
#include <cstdio>
#include <set>
#include <string>

#include "cli/scenario.h"
#include "tests/reference/evaluator.h"

namespace {

using sluice::cli::Probe;
using sluice::cli::Scenario;
using sluice::cli::Verdict;
using sluice::reference::Evaluator;

struct Counts {
  int scenarios = 0;
  int probes = 0;
  int checks = 0;
  int wrong = 0;
};

void check(const char* side, const std::optional<Verdict>& expected,
           Verdict got, const Scenario& scenario, const Probe& probe, bool v6,
           Counts& counts) {
  if (!expected) {
    return;
  }
  ++counts.checks;
  if (got == *expected) {
    return;
  }
  if (++counts.wrong <= 50) {
    std::printf("%s:%d: %s: %s: %s (IPv%d): %s, expected %s\n",
                scenario.file.c_str(), probe.line, scenario.name.c_str(),
                to_string(probe).c_str(), side, v6 ? 6 : 4,
                to_string(got).c_str(), to_string(*expected).c_str());
  }
}

void run(const Scenario& scenario, Counts& counts) {
  std::set<std::string> rejected;
  for (const auto& invalid : scenario.invalid) {
    if (invalid.stage != "preflight-only") {
      rejected.insert(invalid.object);
    }
  }
  const Evaluator evaluator(scenario.objects, rejected);
  ++counts.scenarios;
  for (const Probe& probe : scenario.probes) {
    ++counts.probes;
    const auto families = evaluator.families(probe);
    if (families.empty()) {
      ++counts.wrong;
      std::printf("%s:%d: %s: %s: cannot be sent\n", scenario.file.c_str(),
                  probe.line, scenario.name.c_str(), to_string(probe).c_str());
    }
    for (const bool v6 : families) {
      const auto answer = evaluator.judge(probe, v6);
      check("egress", probe.egress, answer.egress, scenario, probe, v6, counts);
      check("ingress", probe.ingress, answer.ingress, scenario, probe, v6,
            counts);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  bool failed = argc < 2;
  for (int i = 1; i < argc; ++i) {
    Counts counts;
    const auto result = sluice::cli::read_scenarios(
        argv[i], [&](const Scenario& scenario) -> sluice::Result<void> {
          run(scenario, counts);
          return {};
        });
    if (!result) {
      std::printf("%s\n", result.error().message.c_str());
    }
    std::printf("%s: %d scenarios, %d probes, %d verdicts, %d wrong\n", argv[i],
                counts.scenarios, counts.probes, counts.checks, counts.wrong);
    failed = failed || !result || counts.wrong != 0 || counts.checks == 0;
  }
  return failed ? 1 : 0;
}
