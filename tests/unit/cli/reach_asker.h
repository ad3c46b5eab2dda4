// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/cluster.h"
#include "lib/explain/reach_view.h"

// Compares a reachability table with `explain`.
namespace sluice::cli {

using Pairs = std::vector<std::pair<std::string, std::string>>;

// Every pair of members, by asking `explain`.
class Asker {
 public:
  explicit Asker(const Cluster& cluster);
  [[nodiscard]] Pairs pairs(const explain::ReachView& view, std::size_t from,
                            std::size_t to) const;
  // "allowed", "denied", "some 1/2"; empty if no pair shares a family.
  [[nodiscard]] std::string verdict(const Pairs& pairs,
                                    const std::string& port) const;

 private:
  [[nodiscard]] std::vector<std::string> members(const explain::ReachEnd& end,
                                                 const std::string& pod) const;

  const Cluster* cluster_;
  std::map<std::string, std::set<std::string>> addresses_;  // by node
};

// What the table says, in the words of Asker::verdict(). `cell` may be nullptr.
std::string shown(const explain::ReachCell* cell, std::size_t port);
const explain::ReachCell* cell_of(const explain::ReachView& view,
                                  std::size_t from, std::size_t to);
// The last port of "8000-8010/TCP", as `explain` takes it.
std::string last_of(const explain::ReachPort& port);
// Compares all cells, at the first and the last port of each; returns how many
// verdicts those are.
std::size_t compare(const Cluster& cluster, const explain::ReachView& view);

}  // namespace sluice::cli
