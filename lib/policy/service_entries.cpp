// SPDX-License-Identifier: Apache-2.0
// The entries of policy sets for the addresses of Services: at every port, the
// verdict on the backends at their target ports.
#include <algorithm>
#include <utility>

#include "lib/policy/policy_sets.h"

namespace sluice::policy {
namespace {

bool is_denied(const Decided& decided, bool isolated) {
  return decided.kind == Decided::Kind::kDeny ||
         (decided.kind == Decided::Kind::kDefault && isolated);
}

}  // namespace

std::optional<Decided> PolicySets::decide_port(
    const SetDirection& direction, std::uint32_t front,
    const FrontendPort& port, std::span<const OwnPort> own) const {
  if (port.targets.empty()) {
    // Nothing would answer. Denying the packet prevents access to future
    // backends before they have been judged.
    return direction.isolated ? std::optional(Decided{}) : std::nullopt;
  }
  std::optional<Decided> result;
  std::uint8_t dns = 0;
  std::optional<std::uint32_t> last;
  std::vector<Candidate> rules;
  for (const auto& [target, number] : port.targets) {
    if (std::ranges::binary_search(own, OwnPort{.front = front,
                                                .protocol = port.protocol,
                                                .port = port.port,
                                                .target = target,
                                                .number = number})) {
      continue;
    }
    if (last != target) {
      last = target;
      rules = candidates(direction, classes_.key(target));
    }
    auto decided = decide_at(rules, direction.isolated, port.protocol, number);
    decided.name_levels = 0;  // names do not lead to Services
    // A rule that denies is a better explanation than the absence of an
    // allowing rule.
    if (decided.kind == Decided::Kind::kDeny) {
      return decided;
    }
    dns = asked_of_both(dns, decided.dns);
    // Among the allowing rules, prefer one that is logged.
    const bool better = result && !is_denied(*result, direction.isolated) &&
                        ((result->jump == SLUICE_JUMP_NONE &&
                          decided.jump != SLUICE_JUMP_NONE) ||
                         (result->kind == Decided::Kind::kDefault &&
                          decided.kind == Decided::Kind::kAllow));
    if (!result || is_denied(decided, direction.isolated) || better) {
      result = decided;
    }
  }
  if (!result) {
    return Decided{.kind = Decided::Kind::kAllow, .rule = SLUICE_RULE_SELF};
  }
  if (result->kind == Decided::Kind::kAllow) {
    result->dns = dns;
  }
  return result;
}

std::vector<PeerSelector> PolicySets::behind(const Rule& rule) const {
  std::set<PeerSelector> result;
  for (const auto& peer : rule.peers) {
    if (const auto* service = std::get_if<ServicePeer>(&peer)) {
      for (auto& selector : services_.expand(*service)) {
        result.insert(std::move(selector));
      }
    }
  }
  return {result.begin(), result.end()};
}

void PolicySets::refresh_services() {
  for (const auto& key : with_services_) {
    const auto it = policies_.find(key);
    if (it == policies_.end()) {
      continue;
    }
    for (const auto& spec : it->second->specs) {
      const bool stale =
          std::ranges::any_of(spec->rules, [&](const RuleRecord& record) {
            return record.behind != behind(*record.rule);
          });
      if (stale) {
        replace_rules(key, *spec);
      }
    }
  }
}

}  // namespace sluice::policy
