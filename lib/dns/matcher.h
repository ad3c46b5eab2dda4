// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/dns/name.h"
#include "lib/dns/pattern.h"

namespace sluice::dns {

// An id that the user of a matcher chooses for a pattern.
using PatternId = std::uint32_t;

// Tells which of many patterns match a name.
//
// Exact names are in one hash table. The others are in a trie of labels, from
// the last label to the first: one step per label for its text, one for "*",
// and one for each label with stars inside that matches. Such labels are found
// by their first or last characters, so that a name is only compared with those
// that begin or end like it.
//
// match() does not change the matcher: any number of threads may call it at the
// same time, while none calls add() or remove().
class Matcher {
 public:
  Matcher();
  Matcher(Matcher&&) noexcept;
  Matcher& operator=(Matcher&&) noexcept;
  Matcher(const Matcher&) = delete;
  Matcher& operator=(const Matcher&) = delete;
  ~Matcher();

  // Adds a pattern under an id, in place of the one that the id had. Several
  // ids may have the same pattern.
  void add(PatternId id, const NamePattern& pattern);
  // Nothing happens if there is no such id.
  void remove(PatternId id);
  [[nodiscard]] std::size_t size() const { return patterns_.size(); }

  // The ids of all patterns that match, sorted.
  [[nodiscard]] std::vector<PatternId> match(const Name& name) const;
  // The same in place of what `out` has, for callers that keep its memory.
  void match(const Name& name, std::vector<PatternId>& out) const;

 private:
  struct Node;
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };

  std::unordered_map<PatternId, NamePattern> patterns_;
  std::vector<PatternId> every_;
  std::unordered_map<std::string, std::vector<PatternId>, Hash, std::equal_to<>>
      exact_;  // by wire form
  std::unique_ptr<Node> root_;
};

}  // namespace sluice::dns
