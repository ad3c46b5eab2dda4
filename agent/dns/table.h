// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/result.h"
#include "lib/dns/matcher.h"
#include "lib/dns/name.h"
#include "sluice/abi.h"
#include "sluice/state.h"

namespace sluice::agent {

// A name that the map `names` has an entry for.
Result<dns::Name> name_of(const sluice_name& value);

// The selectors of names in use, and the names that the node has met: what the
// map `names` is to hold. Pure: no descriptors, no clock. One thread: match()
// and value() change nothing.
class NameTable {
 public:
  // An entry of the map `names`.
  struct Entry {
    sluice_name_key key{};
    sluice_name value{};
    // Selectors that match the name too, but for which it has no room.
    std::size_t left_out = 0;
  };
  struct Change {
    std::vector<Entry> entries;  // of names met whose values change
    // "selector 12: what is wrong with its pattern". Such a selector matches no
    // name; the others are in force.
    std::vector<std::string> problems;
  };
  struct Met {
    Entry entry;
    bool known = false;  // met before
    // The name that has made room and must leave the map `names`, because it
    // no longer takes part in changes.
    std::optional<sluice_name_key> forgotten;
  };

  // `secret`: sluice_state.name_key. `capacity`: names, at least 1.
  NameTable(const std::array<std::uint64_t, 2>& secret, std::size_t capacity)
      : secret_(secret), capacity_(capacity == 0 ? 1 : capacity) {}

  // Adds, changes and removes selectors. Takes time for each name met, but
  // compares it with the changed patterns alone.
  Change apply(const std::vector<Transaction::NameChange>& changes);

  // Remembers the name as the one met last, and gives its entry.
  Met meet(const dns::Name& name);
  // Its entry, whether or not it has been met.
  [[nodiscard]] Entry entry(const dns::Name& name) const;
  // The ids of all selectors that match, sorted.
  [[nodiscard]] std::vector<std::uint32_t> match(const dns::Name& name) const {
    return matcher_.match(name);
  }
  // The pattern's text; nullptr if there is no such selector.
  [[nodiscard]] const std::string* pattern(std::uint32_t id) const;

 private:
  // Names met, the last one first.
  using Order = std::list<dns::Name>;
  struct Hash {
    std::size_t operator()(const dns::Name& name) const {
      return std::hash<std::string_view>{}(name.wire());
    }
  };

  std::array<std::uint64_t, 2> secret_;
  std::size_t capacity_;
  dns::Matcher matcher_;
  std::unordered_map<std::uint32_t, std::string> patterns_;
  Order order_;
  std::unordered_map<dns::Name, Order::iterator, Hash> met_;
};

}  // namespace sluice::agent
