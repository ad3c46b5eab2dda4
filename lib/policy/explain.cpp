// SPDX-License-Identifier: Apache-2.0
// Why a packet is allowed or denied: the entry that the datapath finds, the
// rule it stands for, and the rules that nearly decided otherwise.
#include <algorithm>
#include <array>
#include <string>

#include <arpa/inet.h>

#include "lib/policy/model.h"
#include "lib/policy/service_variants.h"
#include "lib/policy/translator_impl.h"

namespace sluice::policy {
namespace {

bool covers(const L4Entry& entry, std::uint8_t protocol, std::uint16_t port) {
  if (entry.prefixlen == SLUICE_PREFIX_ANY) {
    return true;
  }
  const int free_bits = SLUICE_PREFIX_PORT - entry.prefixlen;
  return entry.protocol == protocol &&
         entry.port >> free_bits == port >> free_bits;
}

// The longest entry of one class, or selector of names, that covers the packet;
// null if there is none.
const L4Entry* longest(const SetDirection& direction, std::uint32_t cidr_id,
                       const Translator::Question& question) {
  const auto it = direction.entries.find(cidr_id);
  if (it == direction.entries.end()) {
    return nullptr;
  }
  const L4Entry* best = nullptr;
  for (const auto& entry : it->second) {
    if (covers(entry, question.protocol, question.port) &&
        (best == nullptr || entry.prefixlen > best->prefixlen)) {
      best = &entry;
    }
  }
  return best;
}

// The entry that the datapath finds: the class's longest, else that of any
// peer, else none; where it denies, that of a name which comes before it. So
// the answer names the rule that flow events name. `found_at`: the class, or
// the selector of names, that has it.
const L4Entry* find_entry(const SetDirection& direction, std::uint32_t cidr_id,
                          const NameSelectors& names,
                          const Translator::Question& question,
                          std::uint32_t& found_at) {
  found_at = cidr_id;
  const auto* found = longest(direction, cidr_id, question);
  if (found == nullptr) {
    found_at = SLUICE_CIDR_ANY;
    found = longest(direction, SLUICE_CIDR_ANY, question);
  }
  if (found == nullptr || found->value.verdict == SLUICE_VERDICT_ALLOW) {
    return found;
  }
  for (const auto& [id, rules] : direction.by_name) {
    const auto* entry = longest(direction, id, question);
    if (entry != nullptr && (entry->value.flags & found->value.flags) != 0 &&
        names.matches(id, question.names)) {
      found_at = id;
      return entry;
    }
  }
  return found;
}

using Answer = Translator::Answer;

// Says what a rule for names lacks, as far as names go.
void say_names(const RuleRecord& rule, const ClassKey& peer, NearMiss& miss) {
  std::string names;
  for (const auto& selector : rule.rule->peers) {
    if (const auto* name = std::get_if<NamePeer>(&selector)) {
      names += (names.empty() ? "" : ", ") + name->pattern.text();
    }
  }
  const bool possible =
      !rule.names_within ||
      std::ranges::binary_search(peer.selectors, *rule.names_within);
  miss.detail =
      miss.detail.substr(0, miss.detail.find(", but")) +
      (possible ? ", if the address belongs to " + names
                : ", by name (" + names + "), but not in the cluster");
}

// The near miss that a rule of the set is, if it is one.
std::optional<NearMiss> near_miss(const PlacedRule& placed,
                                  const Packet& packet, const ClassKey& peer,
                                  bool allowed) {
  const auto& rule = *placed.rule;
  const bool selects_peer =
      rule.rule->any_peer ||
      std::ranges::any_of(rule.peers, [&](SelectorId id) {
        return std::ranges::binary_search(peer.selectors, id);
      });
  auto candidate = placed.candidate;
  candidate.action = rule.rule->action;
  if (placed.named_at_peer) {
    resolve_names(candidate, rule.rule->l4, peer.ports);
  }
  const bool by_name = candidate.name_level != 0;
  auto miss = near_miss(candidate, selects_peer && !by_name, packet, allowed);
  if (miss && by_name) {
    say_names(rule, peer, *miss);
  }
  if (miss) {
    miss->rule = PolicySets::rule_info(*placed.spec, rule);
  }
  return miss;
}

void set_builtin(Answer& answer, std::uint32_t rule, bool allowed,
                 sluice_reason reason) {
  answer.reason = reason;
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
    set_builtin(answer, SLUICE_RULE_DEFAULT_ALLOW, true,
                SLUICE_REASON_DEFAULT_ALLOW);
  } else if (question.direction == Direction::kIngress && local_node) {
    set_builtin(answer, SLUICE_RULE_LOCAL_NODE, true, SLUICE_REASON_LOCAL_NODE);
  } else {
    set_builtin(answer,
                question.direction == Direction::kIngress
                    ? SLUICE_RULE_DEFAULT_DENY_INGRESS
                    : SLUICE_RULE_DEFAULT_DENY_EGRESS,
                false, SLUICE_REASON_DEFAULT_DENY);
  }
}

// The verdict of the entry that the datapath finds, or the default.
void set_verdict(Answer& answer, const SetRecord& set,
                 const NameSelectors& names,
                 const Translator::Question& question, std::uint32_t cidr_id,
                 bool local_node) {
  const auto& direction =
      set.directions[static_cast<std::size_t>(question.direction)];
  std::uint32_t found_at = 0;
  const auto* entry = find_entry(direction, cidr_id, names, question, found_at);
  if (entry == nullptr) {
    set_default(answer, question, local_node);
    return;
  }
  const bool allowed = entry->value.verdict == SLUICE_VERDICT_ALLOW;
  set_builtin(answer, entry->value.rule, allowed,
              reason_of_entry(entry->value));
  answer.entry = {.key = {.prefixlen = entry->prefixlen,
                          .policy_id = set.id,
                          .cidr_id = found_at,
                          .direction = static_cast<__u8>(question.direction),
                          .protocol = entry->protocol,
                          .port = htons(entry->port)},
                  .value = entry->value};
  if (is_name_selector(found_at)) {
    answer.pattern = names.text(found_at);
  }
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

// Reads what the translator has worked out.
class Explainer {
 public:
  Explainer(const PeerClasses& classes, const Services& services,
            const PolicySets& sets)
      : classes_(classes), services_(services), sets_(sets) {}

  // Visits the ports of Services, node ports and host ports that the packet's
  // destination is for a client on `node`.
  template <typename Visit>
  void visit_behind(const std::string& node, const Packet& packet,
                    const Visit& visit) const;
  // Adds the verdict of the set for every backend of the Services' port. `set`
  // is null if no policy selects the pod.
  void explain_backends(const PodRecord& pod, const SetRecord* set,
                        const Packet& packet, Answer& answer) const;
  // Adds the rules of the set that would have decided otherwise but for one
  // thing.
  void add_near_misses(const SetRecord& set, const PodRecord& pod,
                       const Packet& packet, std::uint32_t cidr_id,
                       Answer& answer) const;

 private:
  [[nodiscard]] Answer::Behind explain_backend(const PodRecord& pod,
                                               const SetDirection& direction,
                                               const Packet& packet,
                                               const Backend& backend) const;

  const PeerClasses& classes_;
  const Services& services_;
  const PolicySets& sets_;
};

template <typename Visit>
void Explainer::visit_behind(const std::string& node, const Packet& packet,
                             const Visit& visit) const {
  const auto visit_all = [&](const std::vector<BehindPort>& ports) {
    for (const auto& port : ports) {
      if (port.view->protocol == packet.protocol &&
          port.number == packet.port && port.number != 0) {
        visit(port);
      }
    }
  };
  visit_all(ports_behind(services_, classes_, packet.peer,
                         {.node = node, .zone = classes_.zone_of(node)}));
  const auto& key = classes_.key(classes_.class_of(packet.peer, node));
  if (key.frontend.node_ports) {
    visit_all(node_ports_behind(services_, packet.peer.v6));
  }
}

void Explainer::explain_backends(const PodRecord& pod, const SetRecord* set,
                                 const Packet& packet, Answer& answer) const {
  static const SetDirection no_rules;
  const auto& direction =
      set == nullptr ? no_rules : set->directions[SLUICE_EGRESS];
  visit_behind(pod.pod.node, packet, [&](const BehindPort& found) {
    if (const auto host = node_of_host_ports(found.name); !host.empty()) {
      answer.host_port_nodes.emplace_back(host);
    } else {
      answer.services.push_back(found.name);
      const auto* near = found.view->nearby(
          services_.front(found.name, packet.peer), packet.peer.v6);
      if (near != nullptr && near->only && found.number == found.view->port) {
        answer.local_services.push_back(found.name);
      }
    }
    for (const auto& backend : *found.backends) {
      answer.backends.push_back(
          explain_backend(pod, direction, packet, backend));
    }
  });
  std::ranges::stable_sort(answer.backends, {}, &Answer::Behind::allowed);
}

Answer::Behind Explainer::explain_backend(const PodRecord& pod,
                                          const SetDirection& direction,
                                          const Packet& packet,
                                          const Backend& backend) const {
  FrontendPort port{
      .protocol = packet.protocol, .port = packet.port, .targets = {}};
  for (const std::uint32_t id : classes_.classes_of(backend.address)) {
    port.targets.emplace_back(id, backend.port);
  }
  const auto decided =
      sets_.decide_port(direction, 0, port, {}).value_or(Decided{});
  Answer::Behind behind{.address = backend.address,
                        .port = backend.port,
                        .pod = classes_.pod_name(backend.address),
                        .allowed = false,
                        .decided = name_rule(direction, decided)};
  const auto& own = pod.pod.ips;
  if (behind.decided.action == "deny" && !decided.denied_by_cluster_policy() &&
      std::ranges::find(own, backend.address) != own.end()) {
    behind.decided = {.id = SLUICE_RULE_SELF,
                      .policy = {},
                      .path = {},
                      .action = "allow",
                      .log_value = {}};
  }
  behind.allowed = behind.decided.action != "deny";
  return behind;
}

void Explainer::add_near_misses(const SetRecord& set, const PodRecord& pod,
                                const Packet& packet, std::uint32_t cidr_id,
                                Answer& answer) const {
  // Of a Service's address, rules that nearly match say nothing: what is behind
  // it decides.
  Packet asked = packet;
  auto about = cidr_id;
  if (packet.direction == Direction::kEgress && !answer.backends.empty() &&
      sets_.frontends().port(cidr_id, packet.protocol, packet.port) !=
          nullptr) {
    const auto& first = answer.backends.front();
    asked.peer = first.address;
    asked.port = first.port;
    about = classes_.class_of(first.address, pod.pod.node);
  }
  const auto& peer = classes_.key(about);
  const auto side = static_cast<std::size_t>(packet.direction);
  for (const auto& placed : set.directions[side].rules) {
    if (placed.rule->id == answer.rule) {
      answer.decided = PolicySets::rule_info(*placed.spec, *placed.rule);
    } else if (auto miss = near_miss(placed, asked, peer, answer.allowed)) {
      answer.near_misses.push_back(std::move(*miss));
    }
  }
  keep_nearest(answer.near_misses);
}

}  // namespace

std::optional<Answer> Translator::explain(const Question& question) const {
  impl_->flush();
  const auto* record = impl_->pods.find(question.subject);
  if (record == nullptr || !record->managed()) {
    return std::nullopt;
  }
  const auto& pod = *record;
  const auto packet = question.packet();
  const Explainer explainer(impl_->classes, impl_->services, impl_->sets);
  Answer answer;
  if (std::ranges::find(pod.pod.ips, packet.peer) != pod.pod.ips.end()) {
    set_builtin(answer, SLUICE_RULE_SELF, true, SLUICE_REASON_SELF);
    return answer;
  }
  const auto cidr_id = impl_->classes.class_of(packet.peer, pod.pod.node);
  const auto& peer = impl_->classes.key(cidr_id);
  const auto* set = impl_->sets.find(pod.policy_set);
  if (packet.direction == Direction::kEgress &&
      (set == nullptr || set->problem.empty())) {
    explainer.explain_backends(pod, set, packet, answer);
  }
  if (set == nullptr) {
    set_default(answer, question, peer.local_node);
    return answer;
  }
  say_isolation(*set, question.direction, answer);
  set_verdict(answer, *set, impl_->sets.names(), question, cidr_id,
              peer.local_node);
  explainer.add_near_misses(*set, pod, packet, cidr_id, answer);
  return answer;
}

Translator::Destination Translator::destination(const IpAddress& address,
                                                std::uint8_t protocol,
                                                std::uint16_t port,
                                                const std::string& node) const {
  impl_->flush();
  Destination result;
  const Explainer explainer(impl_->classes, impl_->services, impl_->sets);
  explainer.visit_behind(node,
                         {.direction = Direction::kEgress,
                          .peer = address,
                          .protocol = protocol,
                          .port = port},
                         [&](const BehindPort& found) {
                           const auto host = node_of_host_ports(found.name);
                           if (host.empty()) {
                             result.services.push_back(found.name);
                           } else {
                             result.host_port_nodes.emplace_back(host);
                           }
                           for (const auto& backend : *found.backends) {
                             result.backends.emplace_back(backend.address,
                                                          backend.port);
                           }
                         });
  return result;
}

const kube::Pod* Translator::pod(const std::string& name) const {
  const auto* record = impl_->pods.find(name);
  return record == nullptr ? nullptr : &record->pod;
}

const kube::Service* Translator::service(const std::string& name) const {
  return impl_->services.find(name);
}

Occupant Translator::occupant(const IpAddress& address) const {
  impl_->flush();
  return impl_->classes.occupant(address);
}

std::string Translator::name_of(const IpAddress& address) const {
  const auto found = occupant(address);
  return found.pod.empty() && !found.node.empty() ? "node/" + found.node
                                                  : found.pod;
}

std::optional<IpAddress> Translator::node_address(const std::string& node,
                                                  bool v6) const {
  return impl_->classes.node_address(node, v6);
}

}  // namespace sluice::policy
