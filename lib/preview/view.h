// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/explain/reach_view.h"

// The answer of `sluice preview`: which pairs of workloads a change of objects
// allows or denies, at which ports, and by which rules.
namespace sluice::preview {

// Why one end allows or denies a packet; the fields of explain's SideView.
struct Decision {
  std::string direction;
  std::string reason;
  std::string policy;  // empty for built-in rules
  std::string path;
  std::vector<std::string> isolating;  // policies that isolate the direction
  auto operator<=>(const Decision&) const = default;
};

// Pairs of members of two ends that may connect only after the change, or only
// before it, all by the same rules.
struct Change {
  std::size_t from = 0;  // their places in View::ends
  std::size_t to = 0;
  bool allowed = false;  // after the change
  // Ports are places in View::ports: at which all members of the ends change
  // (`allowed` of the cell, whatever the verdict), and at which some do.
  explain::ReachCell ports;
  // Places in View::decisions. Of the end that decides: the one that denies
  // before or after the change.
  std::size_t before = 0;
  std::size_t after = 0;
  // A pair that changes at the first port, as `explain` takes them.
  std::string from_member;
  std::string to_member;
};

struct View {
  std::vector<explain::ReachPort> ports;
  std::vector<explain::ReachEnd> ends;
  std::vector<Decision> decisions;
  // In the order of `from` and `to`.
  std::vector<Change> changes;
  // Of the pairs of ends that change: what stays allowed, denied, or allowed
  // for some members.
  std::vector<explain::ReachCell> stays;
  // Pairs of ends that have been compared, and that change nowhere.
  std::uint64_t pairs = 0;
  std::uint64_t unchanged = 0;
  std::vector<std::string> notes;  // what the answer is not about
};

}  // namespace sluice::preview
