// SPDX-License-Identifier: Apache-2.0
// What is valid and probably not meant, as far as the pods that are there show.
#include <algorithm>
#include <set>
#include <utility>

#include <netinet/in.h>

#include "lib/policy/policy_sets.h"
#include "lib/policy/policy_sets_impl.h"
#include "lib/policy/translator_impl.h"

namespace sluice::policy {
namespace {

constexpr std::uint16_t kDnsPort = 53;

bool may_ask_dns(const L4& l4) {
  return l4.any ||
         std::ranges::any_of(l4.ranges,
                             [](const PortRange& range) {
                               return range.protocol == IPPROTO_UDP &&
                                      range.first <= kDnsPort &&
                                      range.last >= kDnsPort;
                             }) ||
         std::ranges::any_of(l4.named, [](const NamedPort& named) {
           return named.protocol == 0 || named.protocol == IPPROTO_UDP;
         });
}

// Peers that are known by names: whoever talks to them looks these up.
bool names_peers(const Rule& rule) {
  return rule.any_peer ||
         std::ranges::any_of(rule.peers, [](const PeerSelector& peer) {
           return !std::holds_alternative<CidrPeer>(peer) &&
                  !std::holds_alternative<CidrGroupPeer>(peer);
         });
}

// True if the set lets its pods talk to peers with names and to no DNS server.
bool lacks_dns(const SetRecord& set) {
  bool names = false;
  for (const auto& placed :
       set.directions[index_of(Direction::kEgress)].rules) {
    const auto& rule = *placed.rule->rule;
    if (rule.action == Action::kAllow &&
        (rule.any_peer || !rule.peers.empty())) {
      if (may_ask_dns(rule.l4)) {
        return false;
      }
      names = names || names_peers(rule);
    }
  }
  return names;
}

}  // namespace

void PolicySets::warn_of_peers(const RuleRecord& rule,
                               std::vector<std::string>& warnings) const {
  const auto matched_nothing = [&](SelectorId id) {
    const auto& selector = selectors_.get(id);
    return std::holds_alternative<LabelSelector>(selector.value) &&
           !selector.matched &&
           std::ranges::none_of(selector.reserved, std::identity{});
  };
  const auto count = std::ranges::count_if(rule.peers, matched_nothing);
  if (count > 0) {
    warnings.push_back(rule.rule->path + ": no pod has matched " +
                       (count == 1
                            ? "a peer selector"
                            : std::to_string(count) + " peer selectors") +
                       " yet");
  }
}

void PolicySets::warn_of_ports(const SpecRecord& spec, const RuleRecord& rule,
                               std::vector<std::string>& warnings) const {
  if (rule.rule->direction != Direction::kIngress || spec.sets.empty()) {
    return;
  }
  for (const auto& named : rule.rule->l4.named) {
    const bool found = std::ranges::any_of(spec.sets, [&](std::uint32_t id) {
      return std::ranges::any_of(
          sets_.at(id)->key.ports,
          [&](const ResolvedPort& port) { return port.name == named.name; });
    });
    if (!found) {
      warnings.push_back(rule.rule->path +
                         ": no selected pod has a port named " + named.name);
    }
  }
}

std::vector<std::string> PolicySets::warnings(const PolicyKey& key) const {
  std::vector<std::string> result;
  const auto record = policies_.find(key);
  if (record == policies_.end()) {
    return result;
  }
  for (const auto& spec : record->second->specs) {
    for (const auto& rule : spec->rules) {
      warn_of_peers(rule, result);
      warn_of_ports(*spec, rule, result);
    }
    const bool without_dns =
        spec->spec->default_deny[index_of(Direction::kEgress)] &&
        std::ranges::any_of(spec->sets, [&](std::uint32_t id) {
          return lacks_dns(*sets_.at(id));
        });
    if (without_dns) {
      result.emplace_back(
          "pods that it isolates for egress may not ask any DNS server (UDP "
          "port 53)");
    }
  }
  return result;
}

std::vector<PolicyKey> Translator::policies_on(const std::string& node) const {
  impl_->flush();
  std::set<PolicyKey> keys;
  std::set<std::uint32_t> seen;
  for (const auto* pod : impl_->pods.on_node(node)) {
    if (!impl_->pods.is_endpoint(*pod) || pod->policy_set == 0 ||
        !seen.insert(pod->policy_set).second) {
      continue;
    }
    for (const auto* spec : impl_->sets.find(pod->policy_set)->key.specs) {
      keys.insert(spec->policy->key);
    }
  }
  return {keys.begin(), keys.end()};
}

std::vector<std::string> Translator::warnings(const PolicyKey& key) const {
  impl_->flush();
  return impl_->sets.warnings(key);
}

}  // namespace sluice::policy
