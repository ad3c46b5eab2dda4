// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "lib/explain/reach_table.h"
#include "lib/preview/both_worlds.h"
#include "lib/preview/view.h"

namespace sluice::preview {

// What changes between two ends, and what stays: counts the pairs of their
// members by port.
class Tally {
 public:
  Tally(BothWorlds& worlds, std::size_t ports)
      : worlds_(&worlds), stays_(ports), changed_(ports) {}

  // This many pairs of members, of which these two are one.
  void add(const BothWorlds::End& from, const BothWorlds::End& to,
           std::uint64_t pairs);
  [[nodiscard]] bool has_changes() const { return !groups_.empty(); }
  // Appends the changes, and what stays.
  void finish(std::size_t from, std::size_t to, View& view) const;

 private:
  using Counts = std::vector<std::uint64_t>;  // by port
  struct Group {
    Counts pairs;
    std::size_t first_port = 0;
    BothWorlds::End from;  // of a pair that changes there
    BothWorlds::End to;
  };
  using Key = std::pair<bool, BothWorlds::Decisions>;

  void add_changes(const PortBits& bits, bool allowed,
                   const BothWorlds::End& from, const BothWorlds::End& to,
                   std::uint64_t pairs);

  BothWorlds* worlds_;
  explain::ReachCount stays_;
  Counts changed_;
  std::map<Key, Group> groups_;
};

}  // namespace sluice::preview
