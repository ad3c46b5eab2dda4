// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "lib/policy/hash.h"
#include "lib/policy/policy_sets.h"

// What the rules of a spec hold while they are there: their ids, selectors of
// peers and of names, and named ports.
namespace sluice::policy {
namespace {

bool asks_for_every_name(const DnsRule& rule) {
  return std::ranges::any_of(rule.names, [](const dns::NamePattern& pattern) {
    return pattern.matches_every_name();
  });
}

}  // namespace

std::uint32_t PolicySets::acquire_rule_id(const PolicyKey& key,
                                          const std::string& path) {
  const std::string owner = to_string(key) + " " + path;
  auto id =
      static_cast<std::uint32_t>(StableHash().add("rule").add(owner).value());
  while (true) {
    id = std::max<std::uint32_t>(id, SLUICE_RULE_FIRST);
    auto& entry = rule_ids_[id];
    if (entry.refs == 0 || entry.owner == owner) {
      entry.owner = owner;
      ++entry.refs;
      return id;
    }
    ++id;
  }
}

void PolicySets::acquire_peers(const Rule& rule, RuleRecord& record) {
  for (const auto& peer : rule.peers) {
    if (const auto* name = std::get_if<NamePeer>(&peer)) {
      record.names.push_back(names_.acquire(
          name->pattern, name->external_only
                             ? NameSelectors::Answers::kAll
                             : NameSelectors::Answers::kOfResolvers));
      if (name->external_only && !record.names_within) {
        record.names_within =
            selectors_.acquire(Entity::kWorld, SelectorCache::Use::kPeer);
      }
    } else if (!std::holds_alternative<ServicePeer>(peer)) {
      record.peers.push_back(
          selectors_.acquire(peer, SelectorCache::Use::kPeer));
    }
  }
  if (rule.dns && !asks_for_every_name(*rule.dns)) {
    for (const auto& pattern : rule.dns->names) {
      record.asked.push_back(
          names_.acquire(pattern, NameSelectors::Answers::kAll));
    }
  }
}

std::vector<RuleRecord> PolicySets::acquire_rules(const PolicyKey& key,
                                                  const Spec& spec) {
  std::vector<RuleRecord> rules;
  for (const auto& rule : spec.rules) {
    RuleRecord record{.rule = &rule,
                      .id = acquire_rule_id(key, rule.path),
                      .peers = {},
                      .behind = {},
                      .names = {},
                      .names_within = std::nullopt,
                      .asked = {}};
    acquire_peers(rule, record);
    record.behind = behind(rule);
    for (const auto& peer : record.behind) {
      record.peers.push_back(
          selectors_.acquire(peer, SelectorCache::Use::kPeer));
    }
    if (rule.direction == Direction::kEgress) {
      for (const auto& named : rule.l4.named) {
        classes_.use_port_name(named.name);
      }
    }
    rules.push_back(std::move(record));
  }
  return rules;
}

void PolicySets::release_rules(const std::vector<RuleRecord>& rules) {
  for (const auto& record : rules) {
    for (const SelectorId id : record.peers) {
      selectors_.release(id, SelectorCache::Use::kPeer);
    }
    for (const auto* names : {&record.names, &record.asked}) {
      for (const std::uint32_t id : *names) {
        names_.release(id);
      }
    }
    if (record.names_within) {
      selectors_.release(*record.names_within, SelectorCache::Use::kPeer);
    }
    const auto it = rule_ids_.find(record.id);
    if (--it->second.refs == 0) {
      rule_ids_.erase(it);
    }
    if (record.rule->direction == Direction::kEgress) {
      for (const auto& named : record.rule->l4.named) {
        classes_.unuse_port_name(named.name);
      }
    }
  }
}

}  // namespace sluice::policy
