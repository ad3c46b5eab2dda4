// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <tuple>
#include <vector>

#include "lib/explain/reach_judge.h"
#include "lib/explain/view.h"
#include "lib/preview/view.h"

namespace sluice::preview {

// Of two answers to one question of which one denies: the side that does so,
// and the same one in the other answer. nullptr: that one has no such side.
struct DecidingSides {
  const explain::SideView* before = nullptr;
  const explain::SideView* after = nullptr;
};
DecidingSides deciding_sides(const explain::ExplainView& before,
                             const explain::ExplainView& after);
Decision decision_of(const explain::SideView* side);

// The decisions of a comparison, each once.
class Reasons {
 public:
  // The place of the decision of a plain pod's end.
  std::size_t of(const explain::ReachJudge& judge, policy::Direction direction,
                 const explain::ReachJudge::PodView& pod,
                 const explain::ReachJudge::Peer& peer, std::size_t port);
  // That of a side of explain's answer.
  std::size_t of(const explain::SideView* side) {
    return place_of(decision_of(side));
  }
  // By place.
  [[nodiscard]] std::vector<Decision> decisions() const;

 private:
  using Asked = std::tuple<const explain::ReachJudge*, std::uint32_t,
                           std::uint32_t, policy::Direction, std::size_t>;
  std::size_t place_of(Decision decision);

  std::map<Asked, std::size_t> asked_;
  std::map<Decision, std::size_t> places_;
};

}  // namespace sluice::preview
