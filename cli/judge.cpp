// SPDX-License-Identifier: Apache-2.0
#include "cli/judge.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <variant>

#include <netinet/in.h>

#include "cli/learned.h"
#include "lib/dns/name.h"
#include "lib/explain/text.h"

namespace sluice::cli {
namespace {

const char* verdict_word(bool allowed) {
  return allowed ? "allow" : "deny";
}

// True for packets that conntrack does not store, so that no new flow is
// reported: ICMP other than echo requests, and packets from a pod to itself.
bool opens_no_flow(const Question& question) {
  const int type = question.port >> 8;
  return question.own == question.peer ||
         (question.protocol == IPPROTO_ICMP && type != 8) ||
         (question.protocol == IPPROTO_ICMPV6 && type != 128);
}

// The model knows only policy; the kernel has a separate reason for a denied
// ICMP error that belongs to no flow.
bool same_reason(std::uint32_t kernel, std::uint32_t model) {
  return kernel == model || (kernel == SLUICE_REASON_ICMP_UNRELATED &&
                             model == SLUICE_REASON_DEFAULT_DENY);
}

// One question of one probe, to be asked when the kernel holds its node's view.
struct PendingProbe {
  const Probe* probe = nullptr;
  Question question;
  policy::Model::Verdict model;
};
// A question by DNS, and its answer.
struct PendingLookup {
  const Probe* probe = nullptr;
  Question question;
  DnsRecords records;
  bool answered = false;
  Kernel::Asked model = Kernel::Asked::kAllowed;
};
// What is to be done with the kernel, in this order.
using Pending = std::variant<PendingProbe, PendingLookup, ScenarioStep::Wait>;

class ScenarioJudge {
 public:
  ScenarioJudge(const Scenario& scenario, Kernel* kernel)
      : scenario_(&scenario), kernel_(kernel), testbed_(scenario) {}

  ScenarioReport run() {
    for (const auto& failure : testbed_.object_failures()) {
      report_.failures.push_back(
          failure_of("objects", scenario_->line, failure));
    }
    for (const auto& note : testbed_.notes()) {
      report_.notes.push_back(scenario_->file + ":" +
                              std::to_string(scenario_->line) + " " +
                              scenario_->name + ": " + note);
    }
    report_.probes = scenario_->probes.size();
    auto step = scenario_->steps.begin();
    const auto take_steps = [&](std::size_t probe) {
      for (; step != scenario_->steps.end() && step->probe <= probe; ++step) {
        std::visit([this](const auto& what) { take(what); }, step->what);
      }
    };
    for (std::size_t i = 0; i < scenario_->probes.size(); ++i) {
      const auto& probe = scenario_->probes[i];
      take_steps(i);
      if (is_test(probe)) {
        judge(probe);
      }
    }
    take_steps(scenario_->probes.size());
    if (kernel_ != nullptr) {
      ask_kernel();
      report_.unsent = kernel_->take_unsent();
    }
    return std::move(report_);
  }

 private:
  FailureView failure_of(const std::string& what, int line,
                         const std::string& actual) {
    return {.scenario = scenario_->name,
            .source = scenario_->file + ":" + std::to_string(line),
            .what = what,
            .actual = actual};
  }

  // A probe that asks nothing, or asks about a misspelt pod, must not look like
  // a passed test.
  bool is_test(const Probe& probe) {
    if (!probe.egress && !probe.ingress && !probe.allowed) {
      report_.failures.push_back(failure_of(
          to_string(probe), probe.line,
          "has no expectation, neither verdict nor egress nor ingress"));
      return false;
    }
    const std::array ends{&probe.from, &probe.to};
    const auto* const stranger = std::ranges::find_if(
        ends, [this](const ProbeEnd* end) { return !testbed_.knows(*end); });
    if (stranger == ends.end()) {
      return true;
    }
    report_.failures.push_back(failure_of(
        to_string(probe), probe.line,
        std::string("there is no ") +
            ((*stranger)->kind == ProbeEnd::Kind::kPod ? "pod " : "Service ") +
            (*stranger)->name + " in the scenario"));
    return false;
  }

  // Every port of a range, up to the first that fails: the others would mostly
  // fail for the same reason.
  void judge(const Probe& probe) {
    const auto numbered = testbed_.with_port_number(probe);
    if (!numbered) {
      report_.failures.push_back(
          failure_of(to_string(probe), probe.line, numbered.error().message));
      return;
    }
    const unsigned last = std::max(numbered->port, numbered->last_port);
    const auto failures = report_.failures.size();
    for (unsigned port = numbered->port;
         port <= last && report_.failures.size() == failures; ++port) {
      auto& one = numbered_.emplace_back(*numbered);
      one.port = static_cast<std::uint16_t>(port);
      one.last_port = 0;
      side(one, policy::Direction::kEgress, one.egress);
      side(one, policy::Direction::kIngress, one.ingress);
      connection(one);
    }
  }

  // What a connection meets in one address family.
  struct Way {
    std::vector<Question> egress;
    // Of the receiver; of a Service, a list for each backend. A receiver
    // without policy of its own has an empty list.
    std::vector<std::vector<Question>> ingress;
  };

  Way way_of(const Probe& probe, bool v6) {
    const auto questions = [&](const Probe& asked,
                               policy::Direction direction) {
      auto found = testbed_.questions(asked, direction);
      std::erase_if(found, [&](const Question& question) {
        return question.own.v6 != v6;
      });
      return found;
    };
    Way way;
    if (testbed_.has_policy(probe.from)) {
      way.egress = questions(probe, policy::Direction::kEgress);
    }
    auto receivers = probe.to.kind == ProbeEnd::Kind::kService
                         ? testbed_.backends(probe, v6)
                         : std::vector{probe};
    for (const auto& receiver : receivers) {
      way.ingress.push_back(
          testbed_.has_policy(receiver.to)
              ? questions(receiver, policy::Direction::kIngress)
              : std::vector<Question>());
    }
    return way;
  }

  // The verdict of the connection as a whole: in every family that the two ends
  // share, and to every backend of a Service.
  void connection(const Probe& probe) {
    if (!probe.allowed) {
      return;
    }
    bool asked = false;
    for (const bool v6 : {false, true}) {
      const auto way = way_of(probe, v6);
      const auto some = [](const auto& questions) {
        return !questions.empty();
      };
      if (some(way.egress) || std::ranges::any_of(way.ingress, some)) {
        asked = true;
        judge(probe, way);
      }
    }
    if (!asked) {
      report_.failures.push_back(
          failure_of(to_string(probe), probe.line,
                     "has no verdict: no pod with policy of its own has an "
                     "address of a family that the two ends share"));
    }
  }

  void judge(const Probe& probe, const Way& way) {
    const auto passes = [&](const std::vector<Question>& questions) {
      return std::ranges::count_if(questions, [&](const Question& question) {
               return lookup_for(probe, question).allowed;
             }) == std::ssize(questions);
    };
    const bool sent = passes(way.egress);
    const auto accepting = std::ranges::count_if(way.ingress, passes);
    const bool all =
        sent && !way.ingress.empty() && accepting == std::ssize(way.ingress);
    const bool none = !sent || accepting == 0;
    if (*probe.allowed ? all : none) {
      return;
    }
    auto failure = contradiction(probe, way);
    failure.expected = verdict_word(*probe.allowed);
    failure.actual = verdict_word(!none);
    if (probe.to.kind == ProbeEnd::Kind::kService) {
      failure.actual += sent ? "; " : " at egress; ";
      failure.actual +=
          std::to_string(accepting) + " of " +
          std::to_string(way.ingress.size()) +
          (way.ingress.size() == 1 ? " backend accepts" : " backends accept");
    }
    report_.failures.push_back(std::move(failure));
  }

  // The first of the way's verdicts that is not the expected one.
  FailureView contradiction(const Probe& probe, const Way& way) {
    auto lists = way.ingress;
    lists.insert(lists.begin(), way.egress);
    for (const auto& questions : lists) {
      for (const auto& question : questions) {
        const auto verdict = lookup(question);
        if (verdict.allowed != *probe.allowed) {
          return describe(probe, question, verdict);
        }
      }
    }
    return failure_of(to_string(probe), probe.line, "");
  }

  // A verdict of the model, of which the kernel's is to be the same.
  policy::Model::Verdict lookup_for(const Probe& probe,
                                    const Question& question) {
    ++report_.questions;
    const auto verdict = lookup(question);
    if (kernel_ != nullptr) {
      pending_[question.node].emplace_back(PendingProbe{
          .probe = &probe, .question = question, .model = verdict});
    }
    return verdict;
  }

  void take(const ScenarioStep::Wait& wait) {
    learned_.wait(wait.seconds);
    for (auto& [node, pending] : pending_) {
      pending.emplace_back(wait);
    }
  }

  void take(const ScenarioStep::Answer& answer) {
    std::vector<dns::Name> names;
    std::vector<std::string> texts = answer.cname;
    texts.push_back(answer.asked.name);
    for (const auto& text : texts) {
      if (const auto name = dns::Name::from_text(text)) {
        names.push_back(*name);
      }
    }
    for (const auto& question : questions_to(answer.asked)) {
      const auto asking = ask(question, answer.asked.name);
      lookup_later(answer.asked, question, asking,
                   {.name = answer.asked.name,
                    .cname = answer.cname,
                    .addresses = answer.addresses,
                    .ttl_s = answer.ttl_s},
                   true);
      if (asking != Asking::kAllowedAndLearned) {
        continue;
      }
      const auto source = is_resolver(question) ? Learned::Source::kResolver
                                                : Learned::Source::kPolicy;
      for (const auto& address : answer.addresses) {
        learned_.add(question.subject, address, names, answer.ttl_s, source);
      }
      break;  // which of the server's addresses was asked does not matter
    }
  }

  void take(const ScenarioStep::MayAsk& may) {
    for (const auto& question : questions_to(may.asked)) {
      ++report_.questions;
      const auto got = ask(question, may.asked.name);
      lookup_later(may.asked, question, got,
                   {.name = may.asked.name, .cname = {}, .addresses = {}},
                   false);
      const bool allowed =
          got == Asking::kAllowed || got == Asking::kAllowedAndLearned;
      if (allowed == may.expected && got != Asking::kDenied) {
        continue;
      }
      auto failure = describe(may.asked.probe, question, lookup(question));
      failure.what += " for " + may.asked.name;
      failure.expected = may.expected ? "allow" : "refused";
      failure.actual = word(got);
      report_.failures.push_back(std::move(failure));
    }
  }

  // The packets of a question, or a failure and none if its pod is unknown or
  // has no policy of its own.
  std::vector<Question> questions_to(const DnsAsked& asked) {
    if (testbed_.knows(asked.probe.from) && testbed_.knows(asked.probe.to) &&
        testbed_.has_policy(asked.probe.from)) {
      return testbed_.questions(asked.probe, policy::Direction::kEgress);
    }
    report_.failures.push_back(failure_of(
        to_string(asked.probe), asked.probe.line,
        "one of the ends is not in the scenario, or the pod has no policy "
        "of its own"));
    return {};
  }

  enum class Asking : std::uint8_t {
    kDenied,   // the packet is
    kRefused,  // the question is
    kAllowed,
    kAllowedAndLearned,  // and what the server answers counts
  };
  static const char* word(Asking asking) {
    switch (asking) {
      case Asking::kDenied:
        return "deny";
      case Asking::kRefused:
        return "refused";
      case Asking::kAllowed:
      case Asking::kAllowedAndLearned:
        break;
    }
    return "allow";
  }
  static Kernel::Asked in_kernel(Asking asking) {
    switch (asking) {
      case Asking::kDenied:
        return Kernel::Asked::kDenied;
      case Asking::kRefused:
        return Kernel::Asked::kRefused;
      case Asking::kAllowed:
      case Asking::kAllowedAndLearned:
        break;
    }
    return Kernel::Asked::kAllowed;
  }

  void lookup_later(const DnsAsked& asked, const Question& question,
                    Asking asking, DnsRecords records, bool answered) {
    if (kernel_ == nullptr) {
      return;
    }
    pending_[question.node].emplace_back(
        PendingLookup{.probe = &asked.probe,
                      .question = question,
                      .records = std::move(records),
                      .answered = answered,
                      .model = in_kernel(asking)});
  }

  Asking ask(const Question& question, const std::string& name) {
    const auto server = lookup(question);
    if (!server.allowed) {
      return Asking::kDenied;
    }
    const bool by_name =
        server.entry && (server.entry->key.cidr_id & SLUICE_CIDR_NAME) != 0;
    const auto list =
        server.entry && !by_name ? server.entry->value.flags : __u8{0};
    if (list == 0) {
      return is_resolver(question) ? Asking::kAllowedAndLearned
                                   : Asking::kAllowed;
    }
    const auto asked = dns::Name::from_text(name);
    const auto ids =
        testbed_.selectors(question.node, {asked.value_or(dns::Name())});
    const bool allowed =
        list == SLUICE_DNS_ANY ||
        testbed_.model(question.node).may_ask(*server.entry, ids) != nullptr;
    return allowed ? Asking::kAllowedAndLearned : Asking::kRefused;
  }

  [[nodiscard]] bool is_resolver(const Question& question) const {
    return testbed_.is_resolver(question.peer, question.port,
                                question.protocol);
  }

  // The selectors that the pod has learned for the peer so far.
  std::vector<std::uint32_t> learned(const Question& question) {
    const auto of = [&](const std::vector<dns::Name>& names) {
      return testbed_.selectors(question.node, names);
    };
    auto result = of(learned_.names(question.subject, question.peer));
    const auto by_resolvers =
        of(learned_.names_by_resolvers(question.subject, question.peer));
    std::erase_if(result, [&by_resolvers](std::uint32_t id) {
      return (id & SLUICE_CIDR_NAME_RESOLVERS) != 0 &&
             std::ranges::find(by_resolvers, id) == by_resolvers.end();
    });
    return result;
  }

  // What the model says, given the names that the pod has learned so far.
  policy::Model::Verdict lookup(const Question& question) {
    std::vector<std::uint32_t> names;
    if (question.direction == policy::Direction::kEgress) {
      names = learned(question);
    }
    const auto& model = testbed_.model(question.node);
    return model.lookup(*model.endpoint(question.subject), question.direction,
                        question.peer, question.protocol, question.port, names);
  }

  void side(const Probe& probe, policy::Direction direction,
            std::optional<Verdict> expected) {
    if (!expected) {
      return;
    }
    const bool egress = direction == policy::Direction::kEgress;
    const auto& subject = egress ? probe.from : probe.to;
    const bool judged = testbed_.has_policy(subject);
    if (judged != (*expected != Verdict::kNone)) {
      auto failure =
          failure_of(to_string(probe), probe.line, judged ? "judged" : "none");
      failure.direction =
          explain::direction_text(static_cast<unsigned>(direction));
      failure.subject = subject.name;
      failure.expected = to_string(*expected);
      failure.reason =
          judged ? "has policy of its own" : "is no pod with policy of its own";
      report_.failures.push_back(std::move(failure));
      return;
    }
    if (!judged) {
      return;
    }
    const auto questions = testbed_.questions(probe, direction);
    report_.unasked += questions.empty() ? 1 : 0;
    for (const auto& question : questions) {
      ask_model(probe, question, *expected);
    }
  }

  void ask_model(const Probe& probe, const Question& question,
                 Verdict expected) {
    const auto verdict = lookup_for(probe, question);
    if (verdict.allowed != (expected == Verdict::kAllow)) {
      auto failure = describe(probe, question, verdict);
      failure.expected = to_string(expected);
      failure.actual = verdict_word(verdict.allowed);
      report_.failures.push_back(std::move(failure));
    }
  }

  FailureView describe(const Probe& probe, const Question& question,
                       const policy::Model::Verdict& verdict) {
    auto failure = failure_of(to_string(probe), probe.line, "");
    failure.direction =
        explain::direction_text(static_cast<unsigned>(question.direction));
    failure.subject = question.subject;
    failure.peer = to_string(question.peer);
    failure.reason = explain::reason_text(verdict.reason);
    if (const auto* rule = testbed_.model(question.node).rule(verdict.rule)) {
      failure.policy = rule->policy;
      failure.path = rule->path;
    }
    if (verdict.entry) {
      failure.entry =
          explain::entry_text(verdict.entry->key, verdict.entry->value);
    }
    const auto answer = testbed_.cluster().translator().explain(
        {.subject = question.subject,
         .direction = question.direction,
         .peer = question.peer,
         .protocol = question.protocol,
         .port = question.port,
         .names = learned_.names(question.subject, question.peer)});
    if (answer) {
      failure.policies = answer->isolating;
      for (const auto& miss : answer->near_misses) {
        failure.near_misses.push_back(miss.rule.policy + " " + miss.rule.path +
                                      " differs in " + miss.differs + ": " +
                                      miss.detail);
      }
      if (answer->allowed != verdict.allowed) {
        failure.reason += "; by the rules themselves: ";
        failure.reason += verdict_word(answer->allowed);
      }
    }
    return failure;
  }

  void ask_kernel() {
    for (const auto& [node, questions] : pending_) {
      const auto shown =
          kernel_->show(testbed_.cluster().translator().snapshot(node),
                        !scenario_->steps.empty());
      if (!shown) {
        report_.failures.push_back(
            failure_of("node " + node, scenario_->line, shown.error().message));
        continue;
      }
      for (const auto& pending : questions) {
        std::visit([this](const auto& what) { ask_kernel(what); }, pending);
      }
    }
  }

  void ask_kernel(const ScenarioStep::Wait& wait) {
    if (const auto waited = kernel_->wait(wait.seconds); !waited) {
      report_.failures.push_back(
          failure_of("wait", scenario_->line, waited.error().message));
    }
  }

  void ask_kernel(const PendingLookup& pending) {
    const auto asked =
        kernel_->ask(pending.question, pending.records, pending.answered);
    ++report_.questions;
    if (asked && *asked == pending.model) {
      return;
    }
    auto failure =
        describe(*pending.probe, pending.question, lookup(pending.question));
    failure.what += " for " + pending.records.name;
    failure.expected = word(pending.model);
    failure.actual = "kernel: ";
    failure.actual += asked ? word(*asked) : asked.error().message;
    report_.failures.push_back(std::move(failure));
  }
  static const char* word(Kernel::Asked asked) {
    switch (asked) {
      case Kernel::Asked::kDenied:
        return "deny";
      case Kernel::Asked::kRefused:
        return "refused";
      case Kernel::Asked::kAllowed:
        break;
    }
    return "allow";
  }

  void ask_kernel(const PendingProbe& pending) {
    const auto& model = pending.model;
    const auto verdict = kernel_->judge(pending.question);
    std::string actual;
    if (!verdict) {
      actual = "kernel: " + verdict.error().message;
    } else if (!*verdict) {
      return;
    } else if ((*verdict)->allowed != model.allowed) {
      actual = std::string("kernel: ") + verdict_word((*verdict)->allowed) +
               ", model: " + verdict_word(model.allowed);
    } else if (!(*verdict)->reported) {
      if (!opens_no_flow(pending.question) || !model.allowed) {
        actual = "kernel: no event";
      }
    } else if (!same_reason((*verdict)->reason, model.reason) ||
               (*verdict)->rule != model.rule) {
      actual =
          "kernel: " + std::string(explain::reason_text((*verdict)->reason)) +
          ", rule " + std::to_string((*verdict)->rule) +
          "; model: " + std::string(explain::reason_text(model.reason)) +
          ", rule " + std::to_string(model.rule);
    }
    ++report_.questions;
    if (!actual.empty()) {
      auto failure = describe(*pending.probe, pending.question, model);
      failure.expected = verdict_word(model.allowed);
      failure.actual = actual;
      report_.failures.push_back(std::move(failure));
    }
  }

  const Scenario* scenario_;
  Kernel* kernel_;
  Testbed testbed_;
  Learned learned_;
  ScenarioReport report_;
  // Probes as they are asked: of one port each, by its number. `pending_` has
  // pointers to them.
  std::deque<Probe> numbered_;
  std::map<std::string, std::vector<Pending>> pending_;
};

}  // namespace

ScenarioReport judge_scenario(const Scenario& scenario, Kernel* kernel) {
  return ScenarioJudge(scenario, kernel).run();
}

}  // namespace sluice::cli
