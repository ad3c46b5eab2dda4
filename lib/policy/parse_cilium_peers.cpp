// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/base/sequence.h"
#include "lib/kube/cidr.h"
#include "lib/policy/parse_cilium.h"
#include "lib/policy/parse_labels.h"
#include "lib/policy/parse_names.h"

namespace sluice::policy {
namespace {

constexpr std::string_view kReservedInit = "reserved:init";

// The members of a rule that name peers, and their parsers.
enum class Member : std::uint8_t {
  kEndpoints,
  kEntities,
  kCidr,
  kCidrSet,
  kServices,
  kNodes,
  kFqdns,  // allow rules only
};
struct MemberName {
  Member member;
  std::array<std::string_view, 2> name;  // by Direction
};
constexpr std::array<MemberName, 7> kMembers{{
    {Member::kEndpoints, {"fromEndpoints", "toEndpoints"}},
    {Member::kEntities, {"fromEntities", "toEntities"}},
    {Member::kCidr, {"fromCIDR", "toCIDR"}},
    {Member::kCidrSet, {"fromCIDRSet", "toCIDRSet"}},
    {Member::kServices, {"", "toServices"}},
    {Member::kNodes, {"fromNodes", "toNodes"}},
    {Member::kFqdns, {"", "toFQDNs"}},
}};

struct EntityName {
  std::string_view name;
  std::optional<Entity> entity;  // nullopt: all, none
};
constexpr std::array<EntityName, 11> kEntities{{
    {"all", std::nullopt},
    {"none", std::nullopt},
    {"world", Entity::kWorld},
    {"cluster", Entity::kCluster},
    {"host", Entity::kHost},
    {"remote-node", Entity::kRemoteNode},
    {"kube-apiserver", Entity::kKubeApiserver},
    {"health", Entity::kHealth},
    {"init", Entity::kInit},
    {"unmanaged", Entity::kUnmanaged},
    {"ingress", Entity::kIngress},
}};

bool has_key(const std::vector<Term>& terms, std::string_view key) {
  return std::ranges::any_of(
      terms, [key](const Term& term) { return term.requirement.key == key; });
}

bool has_key_prefix(const std::vector<Term>& terms, std::string_view prefix) {
  return std::ranges::any_of(terms, [prefix](const Term& term) {
    return term.requirement.key.starts_with(prefix);
  });
}

// Pods only have Kubernetes' labels, so a term with another source can never
// match.
void warn_source(const Field& selector, const std::vector<Term>& terms,
                 bool reserved_too, ParseContext& context) {
  for (const Term& term : terms) {
    const bool positive = term.requirement.op == Requirement::Op::kIn ||
                          term.requirement.op == Requirement::Op::kExists;
    const bool known = term.source == "any" || term.source == "k8s" ||
                       (term.source == "reserved" && !reserved_too);
    if (positive && !known) {
      context.warn(selector, "no pod has a label of source " +
                                 in_quotes(term.source) + ": selects nothing");
    }
  }
}

void take_requirements(std::vector<Term>& terms, LabelSelector& out) {
  for (Term& term : terms) {
    out.requirements.push_back(std::move(term.requirement));
  }
}

// True if a term of a subject requires another namespace than the policy's own.
bool is_foreign(const Term& term, const std::string& ns) {
  return term.requirement.key == kNamespaceKey &&
         term.requirement.op == Requirement::Op::kIn &&
         std::ranges::find(term.requirement.values, ns) ==
             term.requirement.values.end();
}

// Entities that exist only as Cilium's own components.
bool matches_nothing(Entity entity) {
  return entity == Entity::kHealth || entity == Entity::kInit ||
         entity == Entity::kUnmanaged || entity == Entity::kIngress;
}

void parse_entities(const Field& list, Rule& rule, ParseContext& context) {
  Problems& problems = context.problems;
  for (std::size_t i = 0; i < list.value().size(); ++i) {
    const Field field = list.at(i);
    const auto* text = kube::as_string(field, problems);
    if (text == nullptr) {
      continue;
    }
    const auto* found = std::ranges::find(kEntities, *text, &EntityName::name);
    if (found == kEntities.end()) {
      problems.add(field, "unsupported entity " + in_quotes(*text));
    } else if (found->entity) {
      rule.peers.emplace_back(*found->entity);
      if (matches_nothing(*found->entity)) {
        context.warn(field, in_quotes(*text) +
                                " matches nothing: only Cilium has such peers");
      }
    } else if (*text == "all") {
      rule.any_peer = true;
    }
  }
}

// Parses excepts of a CIDR, or of a group if `cidr` is not set. Like Cilium,
// only the address of an except has to be inside, so a wider one removes all.
std::vector<IpPrefix> parse_excepts(const Field& rule,
                                    const std::optional<kube::Cidr>& cidr,
                                    ParseContext& context) {
  std::vector<IpPrefix> result;
  Problems& problems = context.problems;
  const std::size_t count = list_size(rule, "except", problems);
  const auto list = rule.get("except");
  for (std::size_t i = 0; i < count; ++i) {
    const Field field = list->at(i);
    const auto except = parse_cidr_at(field, problems);
    if (!except) {
      continue;
    }
    if (cidr && !cidr->prefix.contains(except->address)) {
      problems.add(field,
                   "CIDR prefix " + to_string(cidr->prefix) +
                       " does not contain exclude CIDR prefix " +
                       in_quotes(field.value().get_ref<const std::string&>()));
      continue;
    }
    if (cidr && except->prefix.contains(cidr->prefix)) {
      context.warn(field, "covers the whole of " + to_string(cidr->prefix) +
                              ": matches nothing");
    }
    result.push_back(except->prefix);
  }
  sort_unique(result);
  return result;
}

// Groups have only labels of their own source.
LabelSelector parse_group_selector(const Field& field, ParseContext& context) {
  LabelSelector result;
  auto terms = parse_terms(field, KeySyntax::kCilium, context.problems);
  for (Term& term : terms) {
    if (term.source == "cidrgroup") {
      term.requirement.key.erase(0, term.source.size() + 1);
      term.source = "any";
    }
  }
  take_requirements(terms, result);
  normalise(result);
  return result;
}

void parse_cidr_rule(const Field& field, Rule& rule, ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return;
  }
  kube::only(field, {"cidr", "cidrGroupRef", "cidrGroupSelector", "except"},
             problems);
  const auto cidr = field.get("cidr");
  const auto name = field.get("cidrGroupRef");
  const auto selector = field.get("cidrGroupSelector");
  if (static_cast<int>(cidr.has_value()) + static_cast<int>(name.has_value()) +
          static_cast<int>(selector.has_value()) !=
      1) {
    problems.add(field,
                 "must have exactly one of cidr, cidrGroupRef, "
                 "cidrGroupSelector");
    return;
  }
  if (cidr) {
    if (const auto parsed = parse_cidr_at(*cidr, problems)) {
      rule.peers.emplace_back(
          CidrPeer{.cidr = parsed->prefix,
                   .except = parse_excepts(field, parsed, context),
                   .external_only = true});
    }
    return;
  }
  CidrGroupPeer group;
  if (name) {
    const auto* text = kube::as_string(*name, problems);
    if (text != nullptr && !is_dns_subdomain(*text)) {
      problems.add(*name, "not a name: " + in_quotes(*text));
    }
    group.name = text == nullptr ? std::string() : *text;
  } else {
    group.selector = parse_group_selector(*selector, context);
  }
  group.except = parse_excepts(field, std::nullopt, context);
  rule.peers.emplace_back(std::move(group));
}

// A Service's namespace: the policy's own if the element names none.
std::string parse_service_namespace(const Field& field, ParseContext& context) {
  const auto ns = field.get("namespace");
  const auto* text = ns ? kube::as_string(*ns, context.problems) : nullptr;
  return text == nullptr || text->empty() ? context.ns() : *text;
}

void parse_service_name(const Field& field, Rule& rule, ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return;
  }
  kube::only(field, {"serviceName", "namespace"}, problems);
  const auto name = require(field, "serviceName", problems);
  const auto* text = name ? kube::as_string(*name, problems) : nullptr;
  ServicePeer peer{.ns = parse_service_namespace(field, context),
                   .name = text == nullptr ? std::string() : *text,
                   .selector = {}};
  if (text != nullptr && !is_dns_subdomain(*text)) {
    problems.add(*name, "not a name: " + in_quotes(*text));
  }
  if (peer.ns.empty()) {
    problems.add(field, "namespace must be set in a cluster-wide policy");
  }
  rule.peers.emplace_back(std::move(peer));
}

void parse_service_selector(const Field& field, Rule& rule,
                            ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return;
  }
  kube::only(field, {"selector", "namespace"}, problems);
  ServicePeer peer{.ns = parse_service_namespace(field, context),
                   .name = {},
                   .selector = LabelSelector{}};
  if (const auto selector = require(field, "selector", problems)) {
    auto terms = parse_terms(*selector, KeySyntax::kCilium, problems);
    take_requirements(terms, *peer.selector);
    normalise(*peer.selector);
  }
  rule.peers.emplace_back(std::move(peer));
}

void parse_service(const Field& field, Rule& rule, ParseContext& context) {
  Problems& problems = context.problems;
  if (!kube::is_object(field, problems)) {
    return;
  }
  kube::only(field, {"k8sService", "k8sServiceSelector"}, problems);
  const auto name = field.get("k8sService");
  const auto selector = field.get("k8sServiceSelector");
  if (name.has_value() == selector.has_value()) {
    problems.add(field,
                 "must have exactly one of k8sService, k8sServiceSelector");
  } else if (name) {
    parse_service_name(*name, rule, context);
  } else {
    parse_service_selector(*selector, rule, context);
  }
}

void parse_member(const Field& list, Member member, bool selects_init,
                  Rule& rule, ParseContext& context) {
  if (member == Member::kEntities) {
    parse_entities(list, rule, context);
    return;
  }
  if (member == Member::kNodes) {
    context.problems.add(list, "not supported");
    return;
  }
  for (std::size_t i = 0; i < list.value().size(); ++i) {
    const Field field = list.at(i);
    if (member == Member::kEndpoints) {
      rule.peers.emplace_back(parse_cilium_peer(field, selects_init, context));
    } else if (member == Member::kCidrSet) {
      parse_cidr_rule(field, rule, context);
    } else if (member == Member::kServices) {
      parse_service(field, rule, context);
    } else if (member == Member::kFqdns) {
      parse_fqdn(field, rule, context);
    } else if (const auto cidr = parse_cidr_at(field, context.problems)) {
      rule.peers.emplace_back(
          CidrPeer{.cidr = cidr->prefix, .external_only = true});
    }
  }
}

// Unknown members, and those that are known but not enforced.
void check_members(const Field& field, const Rule& rule, Problems& problems) {
  const bool allow = rule.action == Action::kAllow;
  if (rule.direction == Direction::kIngress) {
    refuse(field, {"fromGroups", "fromRequires"}, problems);
    allow ? kube::only(field,
                       {"fromEndpoints", "fromEntities", "fromCIDR",
                        "fromCIDRSet", "fromNodes", "fromGroups",
                        "fromRequires", "toPorts", "icmps", "authentication"},
                       problems)
          : kube::only(
                field,
                {"fromEndpoints", "fromEntities", "fromCIDR", "fromCIDRSet",
                 "fromNodes", "fromGroups", "fromRequires", "toPorts", "icmps"},
                problems);
    return;
  }
  refuse(field, {"toGroups", "toRequires"}, problems);
  if (allow) {
    kube::only(field,
               {"toEndpoints", "toEntities", "toCIDR", "toCIDRSet", "toNodes",
                "toGroups", "toRequires", "toServices", "toFQDNs", "toPorts",
                "icmps", "authentication"},
               problems);
  } else {
    kube::only(field,
               {"toEndpoints", "toEntities", "toCIDR", "toCIDRSet", "toNodes",
                "toGroups", "toRequires", "toServices", "toPorts", "icmps"},
               problems);
  }
}

}  // namespace

LabelSelector parse_cilium_subject(const Field& selector, ParseContext& context,
                                   bool& selects_init) {
  LabelSelector result;
  auto terms = parse_terms(selector, KeySyntax::kCilium, context.problems);
  selects_init = has_key(terms, kReservedInit);
  warn_source(selector, terms, true, context);
  if (!context.ns().empty()) {
    std::erase_if(terms, [&](const Term& term) {
      const bool foreign = is_foreign(term, context.ns());
      const bool overwritten = term.match_label && term.source == "k8s" &&
                               term.requirement.key == kNamespaceKey;
      if (foreign) {
        context.warn(selector,
                     std::string(kNamespaceKey) +
                         (overwritten ? " is overwritten with "
                                      : " is not the policy's own, so nothing "
                                        "is selected; own: ") +
                         in_quotes(context.ns()));
      }
      return overwritten;
    });
    result.requirements.push_back(require_in(kNamespaceKey, context.ns()));
  }
  take_requirements(terms, result);
  normalise(result);
  return result;
}

LabelSelector parse_cilium_peer(const Field& selector,
                                bool subject_selects_init,
                                ParseContext& context) {
  LabelSelector result;
  auto terms = parse_terms(selector, KeySyntax::kCilium, context.problems);
  warn_source(selector, terms, false, context);
  if (!has_key_prefix(terms, "reserved:")) {
    if (!has_key(terms, kNamespaceKey)) {
      if (!context.ns().empty()) {
        if (!has_key_prefix(terms, kNamespaceLabelPrefix)) {
          result.requirements.push_back(
              require_in(kNamespaceKey, context.ns()));
        }
      } else if (!subject_selects_init) {
        result.requirements.push_back(require_exists(kNamespaceKey));
      }
    }
    // Every known pod belongs to this cluster, and only pods have the key.
    // Requiring the key is therefore equivalent to naming the cluster, and
    // keeps nodes and the world out of negative selectors.
    if (!has_key(terms, kClusterKey)) {
      result.requirements.push_back(require_exists(kClusterKey));
    }
  }
  take_requirements(terms, result);
  normalise(result);
  return result;
}

void parse_cilium_peers(const Field& field, bool subject_selects_init, bool l4,
                        Rule& rule, ParseContext& context) {
  Problems& problems = context.problems;
  check_members(field, rule, problems);
  std::string_view first;
  bool some = false;
  bool nobody = false;
  for (const MemberName& candidate : kMembers) {
    if (candidate.member == Member::kFqdns && rule.action != Action::kAllow) {
      continue;
    }
    const auto name = candidate.name[static_cast<std::size_t>(rule.direction)];
    const auto list = name.empty() ? std::nullopt : field.get(name);
    if (!list || !kube::is_list(*list, problems)) {
      continue;
    }
    some = true;
    if (list->value().empty()) {
      nobody = true;
      context.warn(*list, "an empty list: the rule selects nobody");
      continue;
    }
    if (!first.empty()) {
      problems.add(field, "combining " + std::string(first) + " and " +
                              std::string(name) + " is not supported");
    }
    first = name;
    parse_member(*list, candidate.member, subject_selects_init, rule, context);
  }
  // Without an L3 member: any peer if the rule restricts L4, otherwise no peer.
  rule.any_peer = !nobody && (some ? rule.any_peer : l4);
  if (nobody || rule.any_peer) {
    rule.peers.clear();
  }
}

}  // namespace sluice::policy
