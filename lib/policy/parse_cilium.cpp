// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/parse_cilium.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/base/utf8.h"
#include "lib/policy/parse_l4.h"
#include "lib/policy/parse_labels.h"
#include "lib/policy/parse_names.h"

namespace sluice::policy {
namespace {

constexpr std::size_t kMaxPorts = 40;
constexpr std::size_t kMaxIcmpFields = 40;
constexpr std::size_t kMaxLogCharacters = 32;

struct Section {
  std::string_view name;
  Direction direction;
  Action action;
};
constexpr std::array<Section, 4> kSections{{
    {"ingress", Direction::kIngress, Action::kAllow},
    {"ingressDeny", Direction::kIngress, Action::kDeny},
    {"egress", Direction::kEgress, Action::kAllow},
    {"egressDeny", Direction::kEgress, Action::kDeny},
}};
constexpr std::array<std::string_view, 2> kDirections{"ingress", "egress"};

// What the toPorts and icmps of a rule allow.
struct RuleL4 {
  L4 plain;
  // Elements of toPorts with rules.dns.
  std::vector<std::pair<L4, DnsRule>> dns;
};

// Code points that do not print: controls, formats, surrogates, private use.
bool is_printable(char32_t c) {
  constexpr std::array<std::pair<char32_t, char32_t>, 19> kOther{{
      {0x00, 0x1f},        {0x7f, 0x9f},     {0xad, 0xad},
      {0x600, 0x605},      {0x61c, 0x61c},   {0x6dd, 0x6dd},
      {0x70f, 0x70f},      {0x890, 0x891},   {0x8e2, 0x8e2},
      {0x180e, 0x180e},    {0x200b, 0x200f}, {0x202a, 0x202e},
      {0x2060, 0x2064},    {0x2066, 0x206f}, {0xd800, 0xf8ff},
      {0xfeff, 0xfeff},    {0xfff9, 0xfffb}, {0xe0001, 0xe007f},
      {0xf0000, 0x10ffff},
  }};
  return std::ranges::none_of(kOther, [c](const auto& range) {
    return c >= range.first && c <= range.second;
  });
}

// Number of characters of UTF-8 text; nullopt if it is invalid or a character
// does not print.
std::optional<std::size_t> count_printable(std::string_view text) {
  std::size_t count = 0;
  while (!text.empty()) {
    const auto point = take_character(text);
    if (!point || !is_printable(*point)) {
      return std::nullopt;
    }
    ++count;
  }
  return count;
}

void parse_log(const Field& field, Spec& spec, Problems& problems) {
  if (!kube::is_object(field, problems)) {
    return;
  }
  kube::only(field, {"value"}, problems);
  spec.log = true;
  const auto value = field.get("value");
  const auto* text = value ? kube::as_string(*value, problems) : nullptr;
  if (text == nullptr) {
    return;
  }
  const auto count = count_printable(*text);
  if (!count) {
    problems.add(*value, "must be printable, is " + in_quotes(*text));
  } else if (*count > kMaxLogCharacters) {
    problems.add(*value, "must have at most 32 characters, has " +
                             std::to_string(*count));
  }
  spec.log_value = *text;
}

// Labels of the policy itself: checked for their types, otherwise unused.
void check_policy_labels(const Field& spec, Problems& problems) {
  const std::size_t count = list_size(spec, "labels", problems);
  const auto list = spec.get("labels");
  for (std::size_t i = 0; i < count; ++i) {
    const Field label = list->at(i);
    if (!kube::is_object(label, problems)) {
      continue;
    }
    kube::only(label, {"key", "source", "value"}, problems);
    require(label, "key", problems);
    for (const std::string_view name : {"key", "source", "value"}) {
      if (const auto member = label.get(name)) {
        kube::as_string(*member, problems);
      }
    }
  }
}

// An allow rule's `authentication`. `disabled` needs nothing and is accepted;
// the other modes are not supported.
void check_authentication(const Field& rule, Problems& problems) {
  const auto field = rule.get("authentication");
  if (!field || !kube::is_object(*field, problems)) {
    return;
  }
  kube::only(*field, {"mode"}, problems);
  const auto mode = require(*field, "mode", problems);
  const auto* text = mode ? kube::as_string(*mode, problems) : nullptr;
  if (text == nullptr || *text == "disabled") {
    return;
  }
  if (*text == "required" || *text == "test-always-fail") {
    problems.add(*mode, "mode " + in_quotes(*text) + " is not supported");
  } else {
    problems.add(*mode, "must be disabled, required or test-always-fail, is " +
                            in_quotes(*text));
  }
}

// The members of an element of toPorts beside its ports.
std::optional<DnsRule> parse_port_members(const Field& field,
                                          const Section& section,
                                          ParseContext& context) {
  Problems& problems = context.problems;
  if (section.action == Action::kDeny) {
    kube::only(field, {"ports"}, problems);
    return std::nullopt;
  }
  kube::only(field,
             {"ports", "rules", "terminatingTLS", "originatingTLS",
              "serverNames", "listener"},
             problems);
  refuse(field, {"terminatingTLS", "originatingTLS", "serverNames", "listener"},
         problems);
  const auto rules = field.get("rules");
  return rules ? parse_port_rules(*rules, section.direction, context)
               : std::nullopt;
}

void parse_port_rule(const Field& field, const Section& section, RuleL4& out,
                     ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return;
  }
  auto dns = parse_port_members(field, section, context);
  const std::size_t count = list_size(field, "ports", problems);
  const auto ports = field.get("ports");
  if (count > kMaxPorts) {
    problems.add(*ports, "too many ports, the max is 40, there are " +
                             std::to_string(count));
    return;
  }
  if (count == 0 && dns) {
    problems.add(field, "ports must be specified for DNS rules");
  } else if (count == 0) {
    context.warn(field, "no ports: matches nothing");
  }
  L4 l4;
  for (std::size_t i = 0; i < count; ++i) {
    dns ? parse_dns_port(ports->at(i), l4, context)
        : parse_cilium_port(ports->at(i), out.plain, context);
  }
  if (dns) {
    normalise(l4);
    out.dns.emplace_back(std::move(l4), std::move(*dns));
  }
}

void parse_icmp_rule(const Field& field, L4& out, ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return;
  }
  kube::only(field, {"fields"}, problems);
  const std::size_t count = list_size(field, "fields", problems);
  const auto fields = field.get("fields");
  if (count > kMaxIcmpFields) {
    problems.add(*fields, "too many types, the max is 40, there are " +
                              std::to_string(count));
    return;
  }
  if (count == 0) {
    context.warn(field, "no fields: matches nothing");
  }
  for (std::size_t i = 0; i < count; ++i) {
    parse_icmp_field(fields->at(i), out, context);
  }
}

// An empty list restricts nothing, as if it were absent.
RuleL4 parse_cilium_l4(const Field& field, const Section& section,
                       ParseContext& context) {
  RuleL4 out;
  Problems& problems = context.problems;
  const std::size_t ports = list_size(field, "toPorts", problems);
  const std::size_t icmps = list_size(field, "icmps", problems);
  out.plain.any = ports == 0 && icmps == 0;
  if (ports > 0 && icmps > 0) {
    problems.add(*field.get("icmps"),
                 "the ICMPs block may only be present without toPorts");
  }
  const auto port_list = field.get("toPorts");
  for (std::size_t i = 0; i < ports; ++i) {
    parse_port_rule(port_list->at(i), section, out, context);
  }
  const auto icmp_list = field.get("icmps");
  for (std::size_t i = 0; i < icmps; ++i) {
    parse_icmp_rule(icmp_list->at(i), out.plain, context);
  }
  normalise(out.plain);
  return out;
}

bool has_names(const Rule& rule) {
  return std::ranges::any_of(rule.peers, [](const PeerSelector& peer) {
    return std::holds_alternative<NamePeer>(peer);
  });
}

// Adds the rules that an element of a section becomes: one, or more if some of
// its ports have DNS rules.
void parse_rule(const Field& field, const Section& section, bool selects_init,
                std::vector<Rule>& out, ParseContext& context) {
  Rule rule{.direction = section.direction,
            .action = section.action,
            .path = field.path()};
  if (!kube::is_object(field, context.problems)) {
    out.push_back(std::move(rule));
    return;
  }
  if (section.action == Action::kAllow) {
    check_authentication(field, context.problems);
  }
  RuleL4 l4 = parse_cilium_l4(field, section, context);
  parse_cilium_peers(field, selects_init, !l4.plain.any, rule, context);
  const bool only_dns =
      !l4.dns.empty() && l4.plain.ranges.empty() && l4.plain.named.empty();
  for (auto& [ports, dns] : l4.dns) {
    if (has_names(rule)) {
      context.problems.add(dns.path + ": not supported in a rule with toFQDNs");
    }
    Rule with_dns = rule;
    with_dns.l4 = std::move(ports);
    with_dns.dns = std::move(dns);
    out.push_back(std::move(with_dns));
  }
  if (!only_dns) {
    rule.l4 = std::move(l4.plain);
    out.push_back(std::move(rule));
  }
}

// enableDefaultDeny by direction; nullopt if it is not set.
std::array<std::optional<bool>, 2> parse_default_deny(const Field& spec,
                                                      Problems& problems) {
  std::array<std::optional<bool>, 2> result;
  const auto field = spec.get("enableDefaultDeny");
  if (!field || !kube::is_object(*field, problems)) {
    return result;
  }
  kube::only(*field, {"ingress", "egress"}, problems);
  for (std::size_t i = 0; i < kDirections.size(); ++i) {
    if (const auto member = field->get(kDirections[i])) {
      result[i] = kube::as_bool(*member, problems);
    }
  }
  return result;
}

// A section with rules isolates, unless enableDefaultDeny says otherwise; one
// without rules does not, whatever enableDefaultDeny says.
void set_default_deny(const Field& field, Spec& spec, ParseContext& context) {
  const auto wanted = parse_default_deny(field, context.problems);
  for (std::size_t i = 0; i < kDirections.size(); ++i) {
    bool allows = false;
    bool denies = false;
    for (const Rule& rule : spec.rules) {
      if (rule.direction == static_cast<Direction>(i)) {
        (rule.action == Action::kAllow ? allows : denies) = true;
      }
    }
    const std::string name(kDirections[i]);
    spec.default_deny[i] = (allows || denies) && wanted[i].value_or(true);
    if (wanted[i].value_or(false) && !allows && !denies) {
      context.warn(*field.get("enableDefaultDeny"),
                   name + " does nothing without a rule for that direction");
    }
    if (denies && !allows && !wanted[i]) {
      std::string text = "no " + name;
      text += " rule allows anything, so the selected pods are isolated; ";
      text += "enableDefaultDeny." + name;
      text += ": false denies only what is listed";
      context.warn(*field.get(name + "Deny"), text);
    }
  }
}

void parse_spec(const Field& field, ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return;
  }
  kube::only(
      field,
      {"endpointSelector", "nodeSelector", "ingress", "ingressDeny", "egress",
       "egressDeny", "labels", "enableDefaultDeny", "description", "log"},
      problems);
  Spec spec;
  bool selects_init = false;
  const auto subject = field.get("endpointSelector");
  if (field.get("nodeSelector")) {
    problems.add(*field.get("nodeSelector"),
                 context.ns().empty()
                     ? "not supported, policies of nodes are not enforced"
                     : "rule cannot have nodeSelector");
  } else if (!subject) {
    problems.add(field, "endpointSelector must be set");
  }
  if (subject) {
    spec.subject = parse_cilium_subject(*subject, context, selects_init);
  }
  for (const Section& section : kSections) {
    const std::size_t count = list_size(field, section.name, problems);
    const auto list = field.get(section.name);
    for (std::size_t i = 0; i < count; ++i) {
      parse_rule(list->at(i), section, selects_init, spec.rules, context);
    }
  }
  if (spec.rules.empty()) {
    problems.add(field,
                 "rule must have at least one of ingress, ingressDeny, egress, "
                 "egressDeny");
  }
  set_default_deny(field, spec, context);
  check_policy_labels(field, problems);
  if (const auto description = field.get("description")) {
    kube::as_string(*description, problems);
  }
  if (const auto log = field.get("log")) {
    parse_log(*log, spec, problems);
  }
  context.policy.specs.push_back(std::move(spec));
}

// nullopt if the subject or the directions cannot be read, or if it isolates no
// pod.
std::optional<Spec> isolation(const Field& field, const ParseContext& context) {
  ParseContext own{.policy = context.policy, .problems = {}};
  if (!kube::is_object(field, own.problems) || field.get("nodeSelector")) {
    return std::nullopt;
  }
  const auto subject = require(field, "endpointSelector", own.problems);
  if (!subject) {
    return std::nullopt;
  }
  Spec spec;
  bool selects_init = false;
  spec.subject = parse_cilium_subject(*subject, own, selects_init);
  const auto wanted = parse_default_deny(field, own.problems);
  for (const Section& section : kSections) {
    if (list_size(field, section.name, own.problems) > 0) {
      const auto side = static_cast<std::size_t>(section.direction);
      spec.default_deny[side] = wanted[side].value_or(true);
    }
  }
  const bool isolates = spec.default_deny[0] || spec.default_deny[1];
  return own.problems.empty() && isolates ? std::optional(std::move(spec))
                                          : std::nullopt;
}

}  // namespace

void isolate_cilium(const Field& root, ParseContext& context) {
  const auto add = [&](const Field& field) {
    if (auto spec = isolation(field, context)) {
      context.policy.specs.push_back(std::move(*spec));
    }
  };
  if (const auto spec = root.get("spec")) {
    add(*spec);
  }
  Problems ignored;  // problems are reported elsewhere
  const std::size_t count = list_size(root, "specs", ignored);
  const auto specs = root.get("specs");
  for (std::size_t i = 0; i < count; ++i) {
    add(specs->at(i));
  }
}

void parse_cilium(const Field& root, ParseContext& context) {
  Problems& problems = context.problems;
  kube::only(root,
             {"apiVersion", "kind", "metadata", "spec", "specs", "status"},
             problems);
  const auto spec = root.get("spec");
  const auto specs = root.get("specs");
  if (!spec && !specs) {
    problems.add("spec: spec or specs must be provided");
    return;
  }
  if (spec) {
    parse_spec(*spec, context);
  }
  const std::size_t count = list_size(root, "specs", problems);
  for (std::size_t i = 0; i < count; ++i) {
    parse_spec(specs->at(i), context);
  }
  if (!spec && count == 0) {
    context.warn(*specs, "empty: the policy does nothing");
  }
}

}  // namespace sluice::policy
