// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/parse_netpol.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <netinet/in.h>
#include <nlohmann/json.hpp>

#include "lib/base/sequence.h"
#include "lib/kube/cidr.h"
#include "lib/kube/port_name.h"
#include "lib/policy/parse_l4.h"
#include "lib/policy/parse_labels.h"

// networking.k8s.io/v1 NetworkPolicy.
namespace sluice::policy {
namespace {

constexpr std::int64_t kMaxPort = 65535;
constexpr std::array<std::string_view, 2> kSections{"ingress", "egress"};
constexpr std::array<std::string_view, 2> kPeers{"from", "to"};
constexpr std::array<std::string_view, 2> kTypes{"Ingress", "Egress"};

// An ipBlock may have been stored when the API server still read it in this
// way: leading zeros do not mean octal, and an IPv4 address in IPv6 notation is
// the IPv4 address.
std::optional<IpPrefix> parse_stored_cidr(const Field& field,
                                          ParseContext& context) {
  const auto* text = kube::as_string(field, context.problems);
  if (text == nullptr) {
    return std::nullopt;
  }
  if (const auto cidr = kube::parse_cidr(*text)) {
    return cidr->prefix;
  }
  const auto stored = kube::parse_stored_cidr(*text);
  if (!stored) {
    context.problems.add(field, kube::parse_cidr(*text).error().message);
    return std::nullopt;
  }
  context.warn(field, "read as " + to_string(*stored) +
                          ", write it so: newer API servers refuse " +
                          in_quotes(*text));
  return stored;
}

std::optional<CidrPeer> parse_ip_block(const Field& field,
                                       ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return std::nullopt;
  }
  kube::only(field, {"cidr", "except"}, problems);
  const auto cidr_field = require(field, "cidr", problems);
  const auto cidr =
      cidr_field ? parse_stored_cidr(*cidr_field, context) : std::nullopt;
  if (!cidr) {
    return std::nullopt;
  }
  CidrPeer peer{.cidr = *cidr};
  const std::size_t count = list_size(field, "except", problems);
  const auto list = field.get("except");
  for (std::size_t i = 0; i < count; ++i) {
    const Field except_field = list->at(i);
    const auto except = parse_stored_cidr(except_field, context);
    if (!except) {
      continue;
    }
    if (!cidr->contains(*except) || except->length == cidr->length) {
      problems.add(except_field, "must be strictly within " + to_string(*cidr) +
                                     ", is " + to_string(*except));
    }
    peer.except.push_back(*except);
  }
  sort_unique(peer.except);
  return peer;
}

void parse_peer(const Field& field, Rule& rule, ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return;
  }
  kube::only(field, {"podSelector", "namespaceSelector", "ipBlock"}, problems);
  const auto pods = field.get("podSelector");
  const auto namespaces = field.get("namespaceSelector");
  const auto block = field.get("ipBlock");
  if (!pods && !namespaces && !block) {
    problems.add(field, "must specify a peer");
    return;
  }
  if (block) {
    if (pods || namespaces) {
      problems.add(*block,
                   "must not be combined with podSelector or "
                   "namespaceSelector");
    }
    if (auto peer = parse_ip_block(*block, context)) {
      rule.peers.emplace_back(std::move(*peer));
    }
    return;
  }
  LabelSelector selector;
  if (pods) {
    add_selector(*pods, "", selector, problems);
  }
  if (namespaces) {
    add_namespace_selector(*namespaces, selector, problems);
  } else {
    selector.requirements.push_back(require_in(kNamespaceKey, context.ns()));
  }
  normalise(selector);
  rule.peers.emplace_back(std::move(selector));
}

std::optional<std::uint8_t> parse_protocol(const Field& port,
                                           Problems& problems) {
  const auto field = port.get("protocol");
  if (!field) {
    return IPPROTO_TCP;
  }
  const auto* text = kube::as_string(*field, problems);
  if (text == nullptr) {
    return std::nullopt;
  }
  const auto protocol = transport(*text);
  if (!protocol) {
    problems.add(*field, "must be TCP, UDP or SCTP, is " + in_quotes(*text));
  }
  return protocol;
}

// A named port; `has_end` is needed because a range must begin with a number.
void parse_port_name(const Field& field, const std::string& name,
                     std::uint8_t protocol, bool has_end, L4& out,
                     Problems& problems) {
  if (has_end) {
    problems.add(
        field, "must be a number where endPort is set, is " + in_quotes(name));
  } else if (!kube::is_port_name(name)) {
    problems.add(field, "not a port name: " + in_quotes(name));
  } else {
    out.named.push_back({.name = name, .protocol = protocol});
  }
}

void parse_port(const Field& field, L4& out, Problems& problems) {
  if (!kube::is_object(field, problems)) {
    return;
  }
  kube::only(field, {"port", "endPort", "protocol"}, problems);
  const auto protocol = parse_protocol(field, problems);
  const auto port = field.get("port");
  const auto end = field.get("endPort");
  if (!port) {
    if (end) {
      problems.add(*end, "must not be set without port");
    } else if (protocol) {
      add_ports(*protocol, 0, kMaxPort, out);
    }
    return;
  }
  if (const auto* name = port->value().get_ptr<const std::string*>()) {
    if (protocol) {
      parse_port_name(*port, *name, *protocol, end.has_value(), out, problems);
    }
    return;
  }
  const auto first = kube::as_int(*port, 1, kMaxPort, problems);
  auto last = first;
  if (end) {
    last = kube::as_int(*end, 1, kMaxPort, problems);
    if (first && last && *last < *first) {
      problems.add(*end, "must not be less than port " +
                             std::to_string(*first) + ", is " +
                             std::to_string(*last));
    }
  }
  if (protocol && first && last) {
    add_ports(*protocol, static_cast<std::uint16_t>(*first),
              static_cast<std::uint16_t>(*last), out);
  }
}

Rule parse_rule(const Field& field, std::size_t direction,
                ParseContext& context) {
  Rule rule{.direction = static_cast<Direction>(direction),
            .path = field.path()};
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return rule;
  }
  kube::only(field, {kPeers[direction], "ports"}, problems);
  const std::size_t peers = list_size(field, kPeers[direction], problems);
  rule.any_peer = peers == 0;
  const auto peer_list = field.get(kPeers[direction]);
  for (std::size_t i = 0; i < peers; ++i) {
    parse_peer(peer_list->at(i), rule, context);
  }
  const std::size_t ports = list_size(field, "ports", problems);
  rule.l4.any = ports == 0;
  const auto port_list = field.get("ports");
  for (std::size_t i = 0; i < ports; ++i) {
    parse_port(port_list->at(i), rule.l4, problems);
  }
  normalise(rule.l4);
  // The API server drops a member without a value, which leaves it at "any".
  for (const std::string_view name :
       {kPeers[direction], std::string_view("ports")}) {
    const auto found = field.value().find(name);
    if (found != field.value().end() && found->is_null()) {
      context.warn(field, std::string(name) + " is null, which means any");
    }
  }
  return rule;
}

// Without a selector, as with an empty one, every pod of the namespace.
LabelSelector parse_subject(const std::optional<Field>& pods,
                            ParseContext& context) {
  LabelSelector subject;
  if (pods) {
    add_selector(*pods, "", subject, context.problems);
  }
  subject.requirements.push_back(require_in(kNamespaceKey, context.ns()));
  normalise(subject);
  return subject;
}

// Which directions the policy isolates.
std::array<bool, 2> parse_types(const Field& spec, Problems& problems) {
  std::array<bool, 2> result{};
  const std::size_t count = list_size(spec, "policyTypes", problems);
  if (count == 0) {
    const auto egress = spec.get("egress");
    return {true,
            egress && egress->value().is_array() && !egress->value().empty()};
  }
  const auto list = spec.get("policyTypes");
  if (count > kTypes.size()) {
    problems.add(*list,
                 "must have at most 2 elements, has " + std::to_string(count));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const Field field = list->at(i);
    const auto* text = kube::as_string(field, problems);
    const auto* const found =
        text == nullptr ? kTypes.end() : std::ranges::find(kTypes, *text);
    if (found != kTypes.end()) {
      result[static_cast<std::size_t>(found - kTypes.begin())] = true;
    } else if (text != nullptr) {
      problems.add(field, "must be Ingress or Egress, is " + in_quotes(*text));
    }
  }
  return result;
}

}  // namespace

void add_namespace_selector(const Field& namespaces, LabelSelector& out,
                            Problems& problems) {
  // Keeps addresses other than pods out of negative selectors.
  out.requirements.push_back(require_exists(kNamespaceKey));
  add_selector(namespaces, kNamespaceLabelPrefix, out, problems);
}

void parse_network_policy(const Field& root, ParseContext& context) {
  Problems& problems = context.problems;
  kube::only(root, {"apiVersion", "kind", "metadata", "spec", "status"},
             problems);
  Spec result;
  const auto spec = root.get("spec");
  if (!spec) {
    // The API server's defaults: every pod, ingress, no rule.
    context.policy.warnings.emplace_back(
        "spec: not set, which isolates every pod of the namespace for ingress");
    result.subject = parse_subject(std::nullopt, context);
    result.default_deny = {true, false};
    context.policy.specs.push_back(std::move(result));
    return;
  }
  if (!kube::is_object(*spec, problems)) {
    return;
  }
  kube::only(*spec, {"podSelector", "policyTypes", "ingress", "egress"},
             problems);
  result.subject = parse_subject(spec->get("podSelector"), context);
  result.default_deny = parse_types(*spec, problems);
  for (std::size_t direction = 0; direction < kSections.size(); ++direction) {
    const std::size_t count = list_size(*spec, kSections[direction], problems);
    const auto list = spec->get(kSections[direction]);
    for (std::size_t i = 0; i < count; ++i) {
      Rule rule = parse_rule(list->at(i), direction, context);
      if (result.default_deny[direction]) {
        result.rules.push_back(std::move(rule));
      }
    }
    if (count > 0 && !result.default_deny[direction]) {
      context.warn(*list, "has no effect, policyTypes does not name " +
                              std::string(kTypes[direction]));
    }
  }
  context.policy.specs.push_back(std::move(result));
}

void isolate_network_policy(const Field& root, ParseContext& context) {
  Problems& problems = context.problems;
  const auto spec = root.get("spec");
  if (!spec || !kube::is_object(*spec, problems)) {
    return;
  }
  Spec result;
  result.subject = parse_subject(spec->get("podSelector"), context);
  result.default_deny = parse_types(*spec, problems);
  context.policy.specs.push_back(std::move(result));
}

}  // namespace sluice::policy
