// SPDX-License-Identifier: Apache-2.0
// Why a packet is allowed or denied: the entry that the datapath finds, the
// rule it stands for, and the rules that nearly decided otherwise.
#include <algorithm>
#include <array>
#include <string>

#include "lib/base/protocol.h"
#include "lib/policy/translator_impl.h"

namespace sluice::policy {
namespace {

constexpr std::size_t kMostNearMisses = 5;

std::string protocol_text(std::uint8_t protocol) {
  const auto name = protocol_name(protocol);
  return name.empty() ? "protocol " + std::to_string(protocol)
                      : std::string(name);
}

std::string text(std::uint8_t protocol, std::uint16_t first,
                 std::uint16_t last) {
  if (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6) {
    return protocol_text(protocol) + " type " + std::to_string(first >> 8);
  }
  if (first == 0 && last == 65535) {
    return "any " + protocol_text(protocol) + " port";
  }
  auto result = std::to_string(first);
  if (last != first) {
    result += "-" + std::to_string(last);
  }
  return result + "/" + protocol_text(protocol);
}

std::string text(const Candidate& candidate) {
  if (candidate.any_l4) {
    return "every protocol";
  }
  if (candidate.ranges.empty()) {
    return "nothing (its named port is not one of the pod's)";
  }
  std::string result;
  for (const auto& range : candidate.ranges) {
    if (!result.empty()) {
      result += ", ";
    }
    result += text(range.protocol, range.first, range.last);
  }
  return result;
}

bool covers(const Candidate& candidate, std::uint8_t protocol,
            std::uint16_t port) {
  return candidate.any_l4 ||
         std::ranges::any_of(candidate.ranges, [&](const PortRange& range) {
           return range.protocol == protocol && range.first <= port &&
                  port <= range.last;
         });
}

bool names_protocol(const Candidate& candidate, std::uint8_t protocol) {
  return std::ranges::any_of(candidate.ranges, [&](const PortRange& range) {
    return range.protocol == protocol;
  });
}

bool covers(const L4Entry& entry, std::uint8_t protocol, std::uint16_t port) {
  if (entry.prefixlen == SLUICE_PREFIX_ANY) {
    return true;
  }
  const int free_bits = SLUICE_PREFIX_PORT - entry.prefixlen;
  return entry.protocol == protocol &&
         entry.port >> free_bits == port >> free_bits;
}

// The entry that the datapath finds: the class's longest, else that of any
// peer, else none. So the answer names the rule that flow events name.
const L4Entry* find_entry(const SetDirection& direction, std::uint32_t cidr_id,
                          const Translator::Question& question) {
  for (const std::uint32_t id : {cidr_id, SLUICE_CIDR_ANY}) {
    const auto it = direction.entries.find(id);
    if (it == direction.entries.end()) {
      continue;
    }
    const L4Entry* best = nullptr;
    for (const auto& entry : it->second) {
      if (covers(entry, question.protocol, question.port) &&
          (best == nullptr || entry.prefixlen > best->prefixlen)) {
        best = &entry;
      }
    }
    if (best != nullptr) {
      return best;
    }
  }
  return nullptr;
}

using Answer = Translator::Answer;

// One rule that would have decided otherwise, and what it lacks.
std::optional<Answer::NearMiss> near_miss(const PlacedRule& placed,
                                          const Translator::Question& question,
                                          const ClassKey& peer, bool allowed) {
  const auto& rule = *placed.rule;
  const bool deny = rule.rule->action == Action::kDeny;
  if (rule.rule->action == Action::kPass || deny != allowed) {
    return std::nullopt;
  }
  const bool selects_peer =
      rule.rule->any_peer ||
      std::ranges::any_of(rule.peers, [&](SelectorId id) {
        return std::ranges::binary_search(peer.selectors, id);
      });
  auto candidate = placed.candidate;
  if (placed.named_at_peer) {
    resolve_names(candidate, rule.rule->l4, peer.ports);
  }
  const bool covers_port = covers(candidate, question.protocol, question.port);
  if (selects_peer == covers_port) {
    return std::nullopt;  // it matches, or lacks two things
  }
  Answer::NearMiss miss;
  miss.rule = PolicySets::rule_info(*placed.spec, rule);
  const std::string verb = deny ? "denies " : "allows ";
  const auto asked = text(question.protocol, question.port, question.port);
  if (!covers_port) {
    miss.differs =
        names_protocol(candidate, question.protocol) || candidate.ranges.empty()
            ? "port"
            : "protocol";
    miss.detail = verb + text(candidate) + " from this peer, asked " + asked;
    if (question.direction == Direction::kEgress) {
      miss.detail = verb + text(candidate) + " to this peer, asked " + asked;
    }
  } else {
    miss.differs = "peer";
    miss.detail =
        verb + asked + ", but does not select " + to_string(question.peer);
  }
  return miss;
}

void set_builtin(Answer& answer, std::uint32_t rule, bool allowed) {
  answer.rule = rule;
  answer.allowed = allowed;
  answer.decided = {.id = rule,
                    .policy = {},
                    .path = {},
                    .action = allowed ? "allow" : "deny",
                    .log_value = {}};
}

void set_default(Answer& answer, const Translator::Question& question,
                 bool local_node) {
  if (!answer.isolated) {
    set_builtin(answer, SLUICE_RULE_DEFAULT_ALLOW, true);
  } else if (question.direction == Direction::kIngress && local_node) {
    set_builtin(answer, SLUICE_RULE_LOCAL_NODE, true);
  } else {
    set_builtin(answer,
                question.direction == Direction::kIngress
                    ? SLUICE_RULE_DEFAULT_DENY_INGRESS
                    : SLUICE_RULE_DEFAULT_DENY_EGRESS,
                false);
  }
}

const FrontendPort* find_port(const std::vector<FrontendPort>* ports,
                              const Translator::Question& question) {
  if (ports == nullptr || question.direction != Direction::kEgress) {
    return nullptr;
  }
  const auto it = std::ranges::find_if(*ports, [&](const FrontendPort& port) {
    return port.protocol == question.protocol && port.port == question.port;
  });
  return it == ports->end() ? nullptr : &*it;
}

// The rule behind a decision, by name.
RuleInfo name_rule(const SetDirection& direction, const Decided& decided) {
  for (const auto& placed : direction.rules) {
    if (decided.rule != 0 && placed.rule->id == decided.rule) {
      return PolicySets::rule_info(*placed.spec, *placed.rule);
    }
  }
  const bool denied =
      decided.kind == Decided::Kind::kDeny ||
      (decided.kind == Decided::Kind::kDefault && direction.isolated);
  return {.id = denied ? std::uint32_t{SLUICE_RULE_DEFAULT_DENY_EGRESS}
                       : std::uint32_t{SLUICE_RULE_DEFAULT_ALLOW},
          .policy = {},
          .path = {},
          .action = denied ? "deny" : "allow",
          .log_value = {}};
}

void say_isolation(const SetRecord& set, Direction direction, Answer& answer) {
  answer.isolated = set.isolates(direction);
  answer.problem = set.problem;
  answer.isolating =
      PolicySets::info(set).isolating[static_cast<std::size_t>(direction)];
}

}  // namespace

// Says of every backend of the Services' port what the set says of it.
void Translator::Impl::explain_backends(const PodRecord& pod,
                                        const Frontend& frontend,
                                        const SetDirection& direction,
                                        const Question& question,
                                        Answer& answer) const {
  const auto add = [&](const std::string& name, const ServicePortView& view,
                       std::uint16_t number) {
    if (view.protocol != question.protocol || number != question.port ||
        number == 0) {
      return;
    }
    answer.services.push_back(name);
    for (const auto& backend : view.backends[question.peer.v6 ? 1 : 0]) {
      FrontendPort port{
          .protocol = view.protocol, .port = number, .targets = {}};
      for (const std::uint32_t id : classes.classes_of(backend.address)) {
        port.targets.emplace_back(id, backend.port);
      }
      const auto decided =
          sets.decide_port(direction, 0, port, {}).value_or(Decided{});
      Answer::Behind behind{.address = backend.address,
                            .port = backend.port,
                            .pod = classes.pod_name(backend.address),
                            .allowed = false,
                            .decided = name_rule(direction, decided)};
      const auto& own = pod.pod.ips;
      if (behind.decided.action == "deny" &&
          !decided.denied_by_cluster_policy() &&
          std::ranges::find(own, backend.address) != own.end()) {
        behind.decided = {.id = SLUICE_RULE_SELF,
                          .policy = {},
                          .path = {},
                          .action = "allow",
                          .log_value = {}};
      }
      behind.allowed = behind.decided.action != "deny";
      answer.backends.push_back(std::move(behind));
    }
  };
  for (const auto& name : frontend.services) {
    for (const auto& view : services.ports(name)) {
      add(name, view, view.port);
    }
  }
  if (frontend.node_ports) {
    for (const auto& name : services.with_node_ports()) {
      for (const auto& view : services.ports(name)) {
        add(name, view, view.node_port);
      }
    }
  }
  std::ranges::stable_sort(answer.backends, {}, &Answer::Behind::allowed);
}

std::optional<Answer> Translator::explain(const Question& question) const {
  impl_->flush();
  const auto it = impl_->pods.find(question.subject);
  if (it == impl_->pods.end() || !it->second->managed()) {
    return std::nullopt;
  }
  const auto& pod = *it->second;
  Answer answer;
  if (std::ranges::find(pod.pod.ips, question.peer) != pod.pod.ips.end()) {
    set_builtin(answer, SLUICE_RULE_SELF, true);
    return answer;
  }
  const auto side = static_cast<std::size_t>(question.direction);
  const auto cidr_id = impl_->classes.class_of(question.peer, pod.pod.node);
  const auto& peer = impl_->classes.key(cidr_id);
  const auto* set = impl_->sets.find(pod.policy_set);
  if (set == nullptr) {
    set_default(answer, question, peer.local_node);
    return answer;
  }
  // Of a Service's address, rules that nearly match say nothing: what is behind
  // it decides.
  Question asked = question;
  const auto* about = &peer;
  const auto& direction = set->directions[side];
  if (set->problem.empty() &&
      find_port(impl_->sets.frontend(cidr_id), question) != nullptr) {
    impl_->explain_backends(pod, peer.frontend, direction, question, answer);
    if (!answer.backends.empty()) {
      const auto& first = answer.backends.front();
      asked.peer = first.address;
      asked.port = first.port;
      about = &impl_->classes.key(
          impl_->classes.class_of(first.address, pod.pod.node));
    }
  }
  say_isolation(*set, question.direction, answer);
  if (const auto* entry = find_entry(direction, cidr_id, question)) {
    set_builtin(answer, entry->value.rule,
                entry->value.verdict == SLUICE_VERDICT_ALLOW);
  } else {
    set_default(answer, question, peer.local_node);
  }
  for (const auto& placed : direction.rules) {
    if (placed.rule->id == answer.rule) {
      answer.decided = PolicySets::rule_info(*placed.spec, *placed.rule);
    } else if (auto miss = near_miss(placed, asked, *about, answer.allowed)) {
      answer.near_misses.push_back(std::move(*miss));
    }
  }
  // The right peer on another port is nearer than the right port from
  // another peer.
  std::ranges::stable_sort(
      answer.near_misses, [](const auto& a, const auto& b) {
        return (a.differs == "peer") < (b.differs == "peer");
      });
  if (answer.near_misses.size() > kMostNearMisses) {
    answer.near_misses.resize(kMostNearMisses);
  }
  return answer;
}

}  // namespace sluice::policy
