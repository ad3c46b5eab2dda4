// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iosfwd>
#include <vector>

#include "lib/preview/flows.h"
#include "lib/preview/view.h"
#include "lib/preview/warnings.h"

// A preview for people.
namespace sluice::cli {

// Changes at the same ports by the same rules are one row; `expand`: every pair
// of workloads has its own.
void print_preview(std::ostream& out, const preview::View& view, bool expand);
void print(std::ostream& out, const std::vector<preview::Warning>& warnings);
void print(std::ostream& out, const preview::FlowsView& view);

// Pairs of workloads of which one may connect only after the change, or only
// before it.
struct PreviewCounts {
  std::size_t allowed = 0;
  std::size_t denied = 0;
};
PreviewCounts count_pairs(const preview::View& view);

}  // namespace sluice::cli
