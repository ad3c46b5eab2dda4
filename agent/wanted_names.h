// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "sluice/state.h"

namespace sluice::agent {

// What the wanted state says of names: the selectors in use, the policy sets
// with rules for names, and the resolvers; and which selectors have come and
// gone. No I/O. Internal to Learning.
class WantedNames {
 public:
  // `own`: resolvers that are wanted whatever the state says.
  explicit WantedNames(const std::vector<Resolver>& own)
      : own_(own.begin(), own.end()) {}

  // The state that is wanted next, and changes of it.
  void replace(const State& wanted);
  void apply(const Transaction& transaction);
  // False before the first replace(): what is wanted is not known yet.
  [[nodiscard]] bool known() const { return known_; }

  // Patterns of the selectors in use, by their ids.
  [[nodiscard]] const std::map<std::uint32_t, std::string>& patterns() const {
    return patterns_;
  }
  [[nodiscard]] const std::set<Resolver>& resolvers() const {
    return resolvers_;
  }
  // True if the policy set has rules for names.
  [[nodiscard]] bool has_names(std::uint32_t policy_set) const {
    return name_sets_.contains(policy_set);
  }

  // Selectors that have come, and those that have gone, each since the last
  // call for them. One that has gone and come again meanwhile has only come,
  // and the reverse.
  std::vector<Transaction::NameChange> take_additions();
  std::vector<Transaction::NameChange> take_removals();

 private:
  void clear();
  void want_name(std::uint32_t id, const std::optional<NameSelector>& value);
  void want_entry(const sluice_policy_key& key, bool there);
  void want_resolver(const Resolver& resolver, bool there);

  std::set<Resolver> own_;
  bool known_ = false;
  std::map<std::uint32_t, std::string> patterns_;
  std::set<sluice_policy_key, PolicyKeyLess> name_keys_;
  std::map<std::uint32_t, std::size_t> name_sets_;  // number of their keys
  std::set<Resolver> resolvers_;
  std::vector<Transaction::NameChange> additions_;
  std::vector<Transaction::NameChange> removals_;
};

}  // namespace sluice::agent
