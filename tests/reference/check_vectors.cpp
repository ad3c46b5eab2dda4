// SPDX-License-Identifier: Apache-2.0
// Runs scenario files through the reference evaluator.
// usage: check_vectors file...
#include <cstdio>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "cli/learned.h"
#include "cli/scenario.h"
#include "cli/scenario_nodes.h"
#include "lib/dns/name.h"
#include "tests/reference/evaluator.h"
#include "tests/reference/services.h"

namespace {

using sluice::cli::Probe;
using sluice::cli::ProbeEnd;
using sluice::cli::Scenario;
using sluice::cli::ScenarioStep;
using sluice::cli::Verdict;
using sluice::reference::Evaluator;
using sluice::reference::LearnedName;

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

// What pods have learned from a scenario's DNS answers so far.
class Steps {
 public:
  Steps(const Scenario& scenario, const Evaluator& evaluator, Counts& counts)
      : scenario_(&scenario),
        evaluator_(&evaluator),
        counts_(&counts),
        next_(scenario.steps.begin()) {}

  void take_before(std::size_t probe) {
    for (; next_ != scenario_->steps.end() && next_->probe <= probe; ++next_) {
      std::visit([this](const auto& what) { take(what); }, next_->what);
    }
  }
  [[nodiscard]] std::vector<LearnedName> names(const Probe& probe,
                                               bool v6) const {
    std::vector<LearnedName> result;
    const std::string& pod = probe.from.name;
    for (const auto& ip : addresses(probe.to, v6)) {
      for (const auto& name : learned_.names(pod, ip)) {
        result.push_back({.name = name.text(), .by_resolver = false});
      }
      for (const auto& name : learned_.names_by_resolvers(pod, ip)) {
        result.push_back({.name = name.text(), .by_resolver = true});
      }
    }
    return result;
  }

 private:
  using Asking = Evaluator::Asking;
  using Source = sluice::cli::Learned::Source;

  [[nodiscard]] std::vector<sluice::IpAddress> addresses(const ProbeEnd& end,
                                                         bool v6) const {
    std::vector<sluice::IpAddress> ips{end.ip};
    if (end.kind == ProbeEnd::Kind::kPod) {
      ips = evaluator_->world().pods.at(end.name).ips;
    }
    std::erase_if(ips, [v6](const auto& ip) { return ip.v6 != v6; });
    return ips;
  }

  [[nodiscard]] bool is_resolver(const Probe& probe) const {
    for (const bool v6 : evaluator_->families(probe)) {
      for (const auto& ip : addresses(probe.to, v6)) {
        if (sluice::reference::is_resolver(evaluator_->world(), ip,
                                           probe.protocol, probe.port)) {
          return true;
        }
      }
    }
    return false;
  }

  [[nodiscard]] std::optional<Asking> ask(
      const sluice::cli::DnsAsked& asked) const {
    for (const bool v6 : evaluator_->families(asked.probe)) {
      if (const auto answer = evaluator_->ask(asked.probe, v6, asked.name)) {
        return answer->asking;
      }
    }
    return std::nullopt;
  }
  void take(const ScenarioStep::Wait& wait) { learned_.wait(wait.seconds); }
  void take(const ScenarioStep::MayAsk& may) {
    ++counts_->checks;
    const auto got = ask(may.asked);
    if (!got || (*got != Asking::kNo) != may.expected) {
      ++counts_->wrong;
      std::printf("%s: %s: question for %s\n", scenario_->file.c_str(),
                  scenario_->name.c_str(), may.asked.name.c_str());
    }
  }
  void take(const ScenarioStep::Answer& answer) {
    const auto asking = ask(answer.asked);
    const bool resolver = is_resolver(answer.asked.probe);
    if (asking != Asking::kEvery && asking != Asking::kYes &&
        !(asking == Asking::kNoServer && resolver)) {
      return;
    }
    std::vector<sluice::dns::Name> names{
        *sluice::dns::Name::from_text(answer.asked.name)};
    for (const auto& text : answer.cname) {
      names.push_back(*sluice::dns::Name::from_text(text));
    }
    for (const auto& address : answer.addresses) {
      learned_.add(answer.asked.probe.from.name, address, names, answer.ttl_s,
                   resolver ? Source::kResolver : Source::kPolicy);
    }
  }

  const Scenario* scenario_;
  const Evaluator* evaluator_;
  Counts* counts_;
  std::vector<ScenarioStep>::const_iterator next_;
  sluice::cli::Learned learned_;
};

void run(const Scenario& scenario, Counts& counts) {
  std::set<std::string> rejected;
  for (const auto& invalid : scenario.invalid) {
    if (!invalid.may_pass) {
      rejected.insert(invalid.object);
    }
  }
  const Evaluator evaluator(scenario.objects, rejected,
                            sluice::cli::found_addresses(scenario.objects));
  ++counts.scenarios;
  Steps steps(scenario, evaluator, counts);
  for (std::size_t i = 0; i < scenario.probes.size(); ++i) {
    const Probe& probe = scenario.probes[i];
    steps.take_before(i);
    ++counts.probes;
    const auto families = evaluator.families(probe);
    if (families.empty()) {
      ++counts.wrong;
      std::printf("%s:%d: %s: %s: cannot be sent\n", scenario.file.c_str(),
                  probe.line, scenario.name.c_str(), to_string(probe).c_str());
    }
    for (const bool v6 : families) {
      const auto answer = evaluator.judge(probe, v6, steps.names(probe, v6));
      check("egress", probe.egress, answer.egress, scenario, probe, v6, counts);
      check("ingress", probe.ingress, answer.ingress, scenario, probe, v6,
            counts);
    }
  }
  steps.take_before(scenario.probes.size());
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
