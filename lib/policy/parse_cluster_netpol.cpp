// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <netinet/in.h>
#include <nlohmann/json.hpp>

#include "lib/kube/cidr.h"
#include "lib/kube/port_name.h"
#include "lib/policy/parse_l4.h"
#include "lib/policy/parse_labels.h"
#include "lib/policy/parse_names.h"
#include "lib/policy/parse_netpol.h"

// policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy.
namespace sluice::policy {
namespace {

constexpr std::size_t kMaxElements = 25;
constexpr std::int64_t kMaxPriority = 1000;
constexpr std::int64_t kMaxPort = 65535;
constexpr std::size_t kMaxRuleName = 100;
constexpr std::array<std::string_view, 2> kSections{"ingress", "egress"};
constexpr std::array<std::string_view, 2> kPeers{"from", "to"};

// A list of `min` to 25 elements; 0 if it is absent or wrong.
std::size_t bounded_list(const Field& parent, std::string_view name,
                         std::size_t min, Problems& problems) {
  const auto list = parent.get(name);
  if (!list || !kube::is_list(*list, problems)) {
    return 0;
  }
  const std::size_t count = list->value().size();
  if (count < min || count > kMaxElements) {
    problems.add(*list, "must have " + std::to_string(min) + " to " +
                            std::to_string(kMaxElements) + " elements, has " +
                            std::to_string(count));
    return 0;
  }
  return count;
}

// True if an object has exactly one member.
bool has_one_member(const Field& field, std::string_view of,
                    Problems& problems) {
  if (!kube::is_object(field, problems)) {
    return false;
  }
  if (field.value().size() != 1) {
    problems.add(field, "must have exactly one of " + std::string(of));
    return false;
  }
  return true;
}

// Parses `namespaces` or `pods`, one of which the caller has found. False if
// neither is valid.
bool parse_pods(const Field& field, LabelSelector& out, Problems& problems) {
  if (const auto namespaces = field.get("namespaces")) {
    add_namespace_selector(*namespaces, out, problems);
  } else if (const auto pods = field.get("pods")) {
    if (!kube::is_object(*pods, problems)) {
      return true;
    }
    kube::only(*pods, {"namespaceSelector", "podSelector"}, problems);
    if (const auto selector = require(*pods, "podSelector", problems)) {
      add_selector(*selector, "", out, problems);
    }
    if (const auto selector = pods->get("namespaceSelector")) {
      add_namespace_selector(*selector, out, problems);
    } else {
      out.requirements.push_back(require_exists(kNamespaceKey));
    }
  } else {
    return false;
  }
  normalise(out);
  return true;
}

void parse_networks(const Field& peer, Rule& rule, Problems& problems) {
  const std::size_t count = bounded_list(peer, "networks", 1, problems);
  const auto list = peer.get("networks");
  for (std::size_t i = 0; i < count; ++i) {
    const Field field = list->at(i);
    const auto* text = kube::as_string(field, problems);
    if (text == nullptr) {
      continue;
    }
    if (const auto cidr = kube::parse_cidr(*text)) {
      rule.peers.emplace_back(CidrPeer{.cidr = cidr->prefix});
    } else {
      problems.add(field, cidr.error().message);
    }
  }
}

void parse_domain_names(const Field& peer, Rule& rule, Problems& problems) {
  if (rule.action != Action::kAllow) {
    problems.add(peer, "domainNames are only possible in Accept rules");
  }
  const std::size_t count = bounded_list(peer, "domainNames", 1, problems);
  const auto list = peer.get("domainNames");
  for (std::size_t i = 0; i < count; ++i) {
    parse_domain_name(list->at(i), rule, problems);
  }
}

// False if the peer's kind is unknown.
bool parse_peer(const Field& field, Rule& rule, ParseContext& context) {
  Problems& problems = context.problems;
  if (field.value().is_object() && field.value().empty()) {
    return false;
  }
  if (!has_one_member(field, "namespaces, pods, nodes, networks, domainNames",
                      problems)) {
    return true;
  }
  if (rule.direction == Direction::kEgress) {
    if (field.get("networks")) {
      parse_networks(field, rule, problems);
      return true;
    }
    if (const auto nodes = field.get("nodes")) {
      NodePeer peer;
      add_selector(*nodes, "", peer.selector, problems);
      normalise(peer.selector);
      rule.peers.emplace_back(std::move(peer));
      return true;
    }
    if (field.get("domainNames")) {
      parse_domain_names(field, rule, problems);
      return true;
    }
  }
  LabelSelector selector;
  if (parse_pods(field, selector, problems)) {
    rule.peers.emplace_back(std::move(selector));
    return true;
  }
  // An ingress rule has no other peers than pods.
  kube::only(field, {"namespaces", "pods"}, problems);
  return true;
}

void parse_number_or_range(const Field& port, std::uint8_t protocol, L4& out,
                           Problems& problems) {
  kube::only(port, {"number", "range"}, problems);
  if (!has_one_member(port, "number, range", problems)) {
    return;
  }
  if (const auto number = port.get("number")) {
    if (const auto value = kube::as_int(*number, 1, kMaxPort, problems)) {
      const auto only_port = static_cast<std::uint16_t>(*value);
      add_ports(protocol, only_port, only_port, out);
    }
    return;
  }
  const auto range = port.get("range");
  if (!range || !kube::is_object(*range, problems)) {
    return;
  }
  kube::only(*range, {"start", "end"}, problems);
  const auto start = require(*range, "start", problems);
  const auto end = require(*range, "end", problems);
  if (!start || !end) {
    return;
  }
  const auto first = kube::as_int(*start, 1, kMaxPort, problems);
  const auto last = kube::as_int(*end, 1, kMaxPort, problems);
  if (first && last && *first >= *last) {
    problems.add(*end, "must be greater than start " + std::to_string(*first) +
                           ", is " + std::to_string(*last));
  } else if (first && last) {
    add_ports(protocol, static_cast<std::uint16_t>(*first),
              static_cast<std::uint16_t>(*last), out);
  }
}

void parse_protocol(const Field& field, L4& out, Problems& problems) {
  if (kube::is_object(field, problems)) {
    kube::only(field, {"tcp", "udp", "sctp", "destinationNamedPort"}, problems);
  }
  if (!has_one_member(field, "tcp, udp, sctp, destinationNamedPort",
                      problems)) {
    return;
  }
  if (const auto name = field.get("destinationNamedPort")) {
    const auto* text = kube::as_string(*name, problems);
    if (text == nullptr) {
      return;
    }
    if (auto lower = to_lower(*text); kube::is_port_name(lower)) {
      out.named.push_back({.name = std::move(lower)});
    } else {
      problems.add(*name, "not a port name: " + in_quotes(*text));
    }
    return;
  }
  constexpr std::array<std::pair<std::string_view, std::uint8_t>, 3> kProtocols{
      {{"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"sctp", IPPROTO_SCTP}}};
  for (const auto& [name, protocol] : kProtocols) {
    const auto match = field.get(name);
    if (!match) {
      continue;
    }
    kube::only(*match, {"destinationPort"}, problems);
    if (has_one_member(*match, "destinationPort", problems)) {
      if (const auto port = match->get("destinationPort")) {
        parse_number_or_range(*port, protocol, out, problems);
      }
    }
  }
}

std::optional<Action> parse_action(const Field& rule, Problems& problems) {
  const auto field = require(rule, "action", problems);
  const auto* text = field ? kube::as_string(*field, problems) : nullptr;
  if (text == nullptr) {
    return std::nullopt;
  }
  if (*text == "Accept") {
    return Action::kAllow;
  }
  if (*text == "Deny") {
    return Action::kDeny;
  }
  if (*text == "Pass") {
    return Action::kPass;
  }
  problems.add(*field, "must be Accept, Deny or Pass, is " + in_quotes(*text));
  return std::nullopt;
}

std::string parse_rule_name(const Field& rule, Problems& problems) {
  const auto field = rule.get("name");
  const auto* text = field ? kube::as_string(*field, problems) : nullptr;
  if (text == nullptr) {
    return {};
  }
  // Counts characters, not bytes: continuation bytes are not counted.
  const auto length = std::ranges::count_if(*text, [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0U) != 0x80;
  });
  if (static_cast<std::size_t>(length) > kMaxRuleName) {
    problems.add(*field, "must have at most 100 characters, has " +
                             std::to_string(length));
  }
  return *text;
}

// What the API specifies for a peer that is not understood: an Accept rule
// matches nothing, any other rule denies everything.
void fail_closed(const Field& field, Rule& rule, ParseContext& context) {
  rule.peers.clear();
  if (rule.action == Action::kAllow) {
    context.warn(field,
                 "has a peer that is not supported, so the rule matches "
                 "nothing");
    return;
  }
  rule.action = Action::kDeny;
  rule.any_peer = true;
  rule.l4 = L4{.any = true};
  context.warn(field,
               "has a peer that is not supported, so the rule denies "
               "everything");
}

bool names_addresses(const Field& peer) {
  return peer.get("networks") || peer.get("nodes") || peer.get("domainNames");
}

Rule parse_rule(const Field& field, std::size_t direction,
                ParseContext& context) {
  Rule rule{.direction = static_cast<Direction>(direction),
            .path = field.path()};
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return rule;
  }
  kube::only(field, {"name", "action", kPeers[direction], "protocols"},
             problems);
  rule.name = parse_rule_name(field, problems);
  rule.action = parse_action(field, problems).value_or(Action::kDeny);
  const std::size_t protocols = bounded_list(field, "protocols", 1, problems);
  const auto protocol_list = field.get("protocols");
  rule.l4.any = !protocol_list;
  for (std::size_t i = 0; i < protocols; ++i) {
    parse_protocol(protocol_list->at(i), rule.l4, problems);
  }
  normalise(rule.l4);
  const auto peers = require(field, kPeers[direction], problems);
  const std::size_t count = bounded_list(field, kPeers[direction], 1, problems);
  bool understood = true;
  for (std::size_t i = 0; i < count; ++i) {
    const Field peer = peers->at(i);
    if (names_addresses(peer) && !rule.l4.named.empty()) {
      problems.add(peer,
                   "must not be combined with a named port, there are "
                   "none but on pods");
    }
    understood = parse_peer(peer, rule, context) && understood;
  }
  if (!understood) {
    fail_closed(field, rule, context);
  }
  return rule;
}

void parse_tier(const Field& spec, Policy& policy, Problems& problems) {
  const auto field = require(spec, "tier", problems);
  const auto* text = field ? kube::as_string(*field, problems) : nullptr;
  if (text != nullptr && *text != "Admin" && *text != "Baseline") {
    problems.add(*field, "must be Admin or Baseline, is " + in_quotes(*text));
  }
  policy.tier =
      text != nullptr && *text == "Baseline" ? Tier::kBaseline : Tier::kAdmin;
  if (const auto priority = require(spec, "priority", problems)) {
    policy.priority = static_cast<std::int32_t>(
        kube::as_int(*priority, 0, kMaxPriority, problems).value_or(0));
  }
}

LabelSelector parse_subject(const Field& spec, Problems& problems) {
  LabelSelector result;
  const auto subject = require(spec, "subject", problems);
  if (subject && kube::is_object(*subject, problems)) {
    kube::only(*subject, {"namespaces", "pods"}, problems);
    if (has_one_member(*subject, "namespaces, pods", problems)) {
      parse_pods(*subject, result, problems);
    }
  }
  return result;
}

}  // namespace

// Default deny belongs to the normal tier.
void isolate_cluster_network_policy(const Field& root, ParseContext& context) {
  Problems& problems = context.problems;
  const auto spec = require(root, "spec", problems);
  if (!spec || !kube::is_object(*spec, problems)) {
    return;
  }
  Spec result;
  result.subject = parse_subject(*spec, problems);
  for (std::size_t direction = 0; direction < kSections.size(); ++direction) {
    result.default_deny[direction] =
        list_size(*spec, kSections[direction], problems) > 0;
  }
  if (result.default_deny[0] || result.default_deny[1]) {
    context.policy.specs.push_back(std::move(result));
  }
}

void parse_cluster_network_policy(const Field& root, ParseContext& context) {
  Problems& problems = context.problems;
  kube::only(root, {"apiVersion", "kind", "metadata", "spec", "status"},
             problems);
  const auto spec = require(root, "spec", problems);
  if (!spec || !kube::is_object(*spec, problems)) {
    return;
  }
  kube::only(*spec, {"tier", "priority", "subject", "ingress", "egress"},
             problems);
  parse_tier(*spec, context.policy, problems);
  Spec result;
  result.subject = parse_subject(*spec, problems);
  for (std::size_t direction = 0; direction < kSections.size(); ++direction) {
    const std::size_t count =
        bounded_list(*spec, kSections[direction], 0, problems);
    const auto list = spec->get(kSections[direction]);
    for (std::size_t i = 0; i < count; ++i) {
      result.rules.push_back(parse_rule(list->at(i), direction, context));
    }
  }
  context.policy.specs.push_back(std::move(result));
}

}  // namespace sluice::policy
