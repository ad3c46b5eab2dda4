// SPDX-License-Identifier: Apache-2.0
#include "agent/wanted_names.h"

#include <utility>

namespace sluice::agent {
namespace {

// Of an endpoint that uses it for learning; the keys of lists of questions are
// not among them.
bool is_name_entry(const sluice_policy_key& key) {
  return (key.cidr_id & SLUICE_CIDR_NAME) != 0 &&
         key.direction == SLUICE_EGRESS;
}

}  // namespace

void WantedNames::clear() {
  name_keys_.clear();
  name_sets_.clear();
  resolvers_ = own_;
}

void WantedNames::want_name(std::uint32_t id,
                            const std::optional<NameSelector>& value) {
  if (value) {
    patterns_[id] = value->pattern;
    additions_.push_back({.id = id, .value = value});
    // It may have been wanted before, and may not leave any more.
    std::erase_if(removals_,
                  [id](const auto& change) { return change.id == id; });
  } else if (patterns_.erase(id) != 0) {
    std::erase_if(additions_,
                  [id](const auto& change) { return change.id == id; });
    removals_.push_back({.id = id, .value = std::nullopt});
  }
}

void WantedNames::want_entry(const sluice_policy_key& key, bool there) {
  if (!is_name_entry(key)) {
    return;
  }
  if (there ? !name_keys_.insert(key).second : name_keys_.erase(key) == 0) {
    return;
  }
  std::size_t& count = name_sets_[key.policy_id];
  count += there ? 1 : -1;
  if (count == 0) {
    name_sets_.erase(key.policy_id);
  }
}

void WantedNames::want_resolver(const Resolver& resolver, bool there) {
  if (there) {
    resolvers_.insert(resolver);
  } else if (!own_.contains(resolver)) {
    resolvers_.erase(resolver);
  }
}

void WantedNames::replace(const State& wanted) {
  clear();
  std::set<std::uint32_t> ids;
  for (const auto& name : wanted.names) {
    ids.insert(name.id);
    const auto known = patterns_.find(name.id);
    if (known == patterns_.end() || known->second != name.pattern) {
      want_name(name.id, name);
    }
  }
  const auto before = patterns_;
  for (const auto& [id, pattern] : before) {
    if (!ids.contains(id)) {
      want_name(id, std::nullopt);
    }
  }
  for (const auto& entry : wanted.entries) {
    want_entry(entry.key, true);
  }
  for (const auto& resolver : wanted.resolvers) {
    want_resolver(resolver, true);
  }
  known_ = true;
}

void WantedNames::apply(const Transaction& transaction) {
  for (const auto& change : transaction.names) {
    want_name(change.id, change.value);
  }
  for (const auto& change : transaction.entries) {
    want_entry(change.key, change.value.has_value());
  }
  for (const auto& change : transaction.resolvers) {
    want_resolver(change.resolver, change.present);
  }
}

std::vector<Transaction::NameChange> WantedNames::take_additions() {
  return std::exchange(additions_, {});
}

std::vector<Transaction::NameChange> WantedNames::take_removals() {
  return std::exchange(removals_, {});
}

}  // namespace sluice::agent
