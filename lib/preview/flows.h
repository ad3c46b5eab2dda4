// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/policy/translator.h"
#include "lib/preview/view.h"

// What a change means for flows that have been seen.
namespace sluice::preview {

// Flows between the same ends.
struct Flows {
  std::string from;  // as `explain` takes it
  std::string to;
  std::string port;
  // DNS names by which the sender knows the receiver's address.
  std::vector<std::string> names;
  std::uint64_t count = 0;
  std::string last_seen;  // RFC 3339
};

struct FlowsChange {
  Flows flows;
  bool allowed = false;  // after the change
  Decision before;
  Decision after;
};

struct FlowsView {
  std::uint64_t seen = 0;
  // Of which the ends, or the family that they share, are not in both worlds.
  std::uint64_t unknown = 0;
  std::vector<FlowsChange> changes;  // what is denied first, then by count
};

// Asks explain_cluster() about the flows in both worlds.
FlowsView judge_flows(const policy::Translator& before,
                      const policy::Translator& after,
                      const std::vector<Flows>& flows);

}  // namespace sluice::preview
