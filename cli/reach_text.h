// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <iosfwd>

#include "lib/explain/reach_view.h"

// A reachability table for people and for other programs.
namespace sluice::cli {

enum class ReachShown : std::uint8_t { kAllowed, kDenied, kAll };

// Sources with the same row are one, and so are the destinations that they
// reach alike.
void print_reach(std::ostream& out, const explain::ReachView& view,
                 ReachShown shown);
// All verdicts, a line each (RFC 4180).
void print_reach_csv(std::ostream& out, const explain::ReachView& view);
// A graph for Graphviz.
void print_reach_dot(std::ostream& out, const explain::ReachView& view,
                     ReachShown shown);

}  // namespace sluice::cli
