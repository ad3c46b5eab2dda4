// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

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

// "80/TCP, 443/TCP", "any/TCP, 53/UDP", "any/TCP but 22/TCP" or "any".
// `list`: the places of the ports; `others`: of those that it does not have.
std::string ports_text(const std::vector<explain::ReachPort>& ports,
                       const std::vector<std::size_t>& list,
                       const std::vector<std::size_t>& others);

}  // namespace sluice::cli
