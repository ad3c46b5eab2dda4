// SPDX-License-Identifier: Apache-2.0
// Pods that are isolated for egress and cannot look up the names that they
// need. docs/names.md says whose answers count.
#include <algorithm>
#include <array>
#include <set>

#include <netinet/in.h>

#include "lib/lint/checks.h"
#include "lib/lint/covers.h"
#include "lib/lint/dns.h"

namespace sluice::lint {
namespace {

using policy::Action;
using policy::Entity;
using policy::L4;
using policy::LabelSelector;
using policy::NamePeer;
using policy::PeerSelector;
using policy::Rule;

constexpr auto kEgress = static_cast<std::size_t>(policy::Direction::kEgress);
// Where DNS servers listen; the second one behind OpenShift's Service.
constexpr std::array<std::uint16_t, 2> kDnsPorts{53, 5353};

constexpr const char* kWithoutDns =
    ": allows peers by name, and no rule lets its pods ask a DNS server (UDP "
    "port 53) for these names";
constexpr const char* kNoDns =
    ": its pods are isolated for egress and may talk to peers that have names, "
    "and no rule lets them ask a DNS server (UDP port 53)";
constexpr const char* kNotLearned =
    ": names are learned only from the cluster's DNS, --fqdn-resolvers and "
    "servers of rules with rules.dns, and its pods may ask none of these";
constexpr const char* kDomainsNotLearned =
    ": domainNames are learned only from the cluster's DNS and "
    "--fqdn-resolvers, and no rule lets its pods ask the cluster's DNS";

bool is_name(const PeerSelector& peer) {
  return std::holds_alternative<NamePeer>(peer);
}

bool has_dns_port(const L4& l4) {
  return l4.any ||
         std::ranges::any_of(
             l4.ranges,
             [](const policy::PortRange& range) {
               return range.protocol == IPPROTO_UDP &&
                      std::ranges::any_of(kDnsPorts, [&](std::uint16_t port) {
                        return range.first <= port && range.last >= port;
                      });
             }) ||
         std::ranges::any_of(l4.named, [](const policy::NamedPort& named) {
           return named.protocol == 0 || named.protocol == IPPROTO_UDP;
         });
}

// Lets its pods ask a DNS server. A server that is known by its name cannot be
// the first one.
bool lets_ask(const Rule& rule) {
  return rule.direction == policy::Direction::kEgress &&
         rule.action == Action::kAllow && has_dns_port(rule.l4) &&
         (rule.any_peer || !std::ranges::all_of(rule.peers, is_name));
}

// Whether programs that talk to the peer look up its name: not for addresses,
// nodes and the API server, whose address is in every pod's environment.
bool is_looked_up(const PeerSelector& peer) {
  if (const auto* entity = std::get_if<Entity>(&peer)) {
    return *entity == Entity::kWorld || *entity == Entity::kCluster;
  }
  return std::holds_alternative<LabelSelector>(peer) ||
         std::holds_alternative<policy::ServicePeer>(peer);
}

bool may_be_cluster_dns(const PeerSelector& peer,
                        const Population& population) {
  if (const auto* labels = std::get_if<LabelSelector>(&peer)) {
    return population.may_select_cluster_dns(*labels);
  }
  if (const auto* service = std::get_if<policy::ServicePeer>(&peer)) {
    return service->ns.empty() || service->ns == "kube-system";
  }
  if (const auto* cidr = std::get_if<policy::CidrPeer>(&peer)) {
    return !cidr->external_only;
  }
  if (const auto* entity = std::get_if<Entity>(&peer)) {
    return *entity != Entity::kWorld;
  }
  return std::holds_alternative<policy::NodePeer>(peer);
}

// The answers of a server that the rule lets ask count for rules by name.
// `of_cluster`: for those of which only the cluster's DNS decides.
bool counts(const Rule& rule, bool of_cluster, const Population& population) {
  return rule.any_peer || (rule.dns && !of_cluster) ||
         std::ranges::any_of(rule.peers, [&](const PeerSelector& peer) {
           return may_be_cluster_dns(peer, population);
         });
}

// What a spec's rules need of DNS.
struct Need {
  bool names = false;       // rules by name
  bool of_cluster = false;  // some of them as domainNames
  bool looked_up = false;   // peers that programs know by their names
};

Need need_of(const policy::Spec& spec) {
  Need need;
  for (const auto& rule : spec.rules) {
    if (rule.direction != policy::Direction::kEgress ||
        rule.action != Action::kAllow || is_empty(rule)) {
      continue;
    }
    need.looked_up = need.looked_up || rule.any_peer ||
                     std::ranges::any_of(rule.peers, is_looked_up);
    for (const auto& peer : rule.peers) {
      if (const auto* name = std::get_if<NamePeer>(&peer)) {
        need.names = true;
        need.of_cluster = need.of_cluster || !name->external_only;
      }
    }
  }
  return need;
}

}  // namespace

// The specs that apply to a pod, or may.
const std::vector<const Checks::Place*>& Checks::applied_to(
    const PodObject& pod) {
  const auto [found, added] = applied_.try_emplace(&pod);
  if (added) {
    for (const auto& place : places_) {
      if (population_.selects(place.spec->subject, pod) != Truth::kNo) {
        found->second.push_back(&place);
      }
    }
  }
  return found->second;
}

// The specs that may apply to a pod together with this one.
std::vector<const Checks::Place*> Checks::beside(const Place& place) const {
  std::vector<const Place*> result;
  for (const auto& other : places_) {
    if (!are_disjoint(place.spec->subject, other.spec->subject)) {
      result.push_back(&other);
    }
  }
  return result;
}

Checks::Dns Checks::dns_of(const std::vector<const Place*>& applied,
                           bool of_cluster) const {
  Dns dns;
  for (const auto* place : applied) {
    dns.isolated = dns.isolated || place->spec->default_deny[kEgress];
    for (const auto& rule : place->spec->rules) {
      if (lets_ask(rule)) {
        dns.asks = true;
        dns.learns = dns.learns || counts(rule, of_cluster, population_);
      }
    }
  }
  return dns;
}

void Checks::check_dns(const Place& place) {
  const auto need = need_of(*place.spec);
  if (!need.names && !need.looked_up) {
    return;
  }
  std::vector<Dns> of_pods;
  for (const auto* pod : population_.select(place.spec->subject).pods) {
    of_pods.push_back(dns_of(applied_to(*pod), need.of_cluster));
  }
  if (of_pods.empty() && need.names) {
    of_pods.push_back(dns_of(beside(place), need.of_cluster));
    of_pods[0].isolated = place.spec->default_deny[kEgress];
  }
  const bool none = std::ranges::any_of(
      of_pods, [](const Dns& dns) { return dns.isolated && !dns.asks; });
  const bool none_counts = std::ranges::any_of(of_pods, [](const Dns& dns) {
    return dns.isolated && dns.asks && !dns.learns;
  });
  if (none) {
    add(*place.object, need.names ? Code::kNamesWithoutDns : Code::kNoDns,
        path_of(*place.spec) + (need.names ? kWithoutDns : kNoDns));
  } else if (none_counts && need.names) {
    add(*place.object, Code::kNamesNotLearned,
        path_of(*place.spec) +
            (need.of_cluster ? kDomainsNotLearned : kNotLearned));
  }
}

std::vector<std::string> Checks::pods_without_dns() && {
  std::set<std::string> names;
  for (const auto& place : places_) {
    if (!place.spec->default_deny[kEgress]) {
      continue;
    }
    for (const auto* object : population_.select(place.spec->subject).pods) {
      if (!object->is_template && !dns_of(applied_to(*object), false).asks) {
        names.insert(object->pod.ns + "/" + object->pod.name);
      }
    }
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> pods_without_dns(
    const std::map<std::string, Input>& inputs) {
  return Checks(inputs).pods_without_dns();
}

}  // namespace sluice::lint
