// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "lib/explain/reach_judge.h"
#include "lib/explain/reach_view.h"

// The cells of a reachability table.
namespace sluice::explain {

// Counts the pairs of members of two ends, by port.
class ReachCount {
 public:
  explicit ReachCount(std::size_t ports) : allowed_(ports), pairs_(ports) {}

  // The verdicts of this many pairs.
  void add(const ReachJudge::Verdicts& verdicts, std::uint64_t pairs);
  // Those that have been counted at a port.
  [[nodiscard]] std::uint64_t pairs(std::size_t port) const {
    return pairs_[port];
  }
  // Where `ports`: places of those that the cell is about.
  [[nodiscard]] ReachCell cell(std::size_t from, std::size_t to) const;

 private:
  std::vector<std::uint64_t> allowed_;
  std::vector<std::uint64_t> pairs_;
};

// Makes one port of neighbours that have the same verdicts in all cells.
// `ports`: those of the cells.
void merge_ports(std::vector<ReachPorts>& ports, std::vector<ReachCell>& cells);

// Leaves out the ends outside that are like the end `world` in every cell, and
// numbers the others anew. `world`: it stands for them.
void leave_out_alike(ReachView& view, std::size_t world);

}  // namespace sluice::explain
