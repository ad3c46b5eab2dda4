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

// The decisions of a comparison, each once.
class Reasons {
 public:
  // The place of the decision of a plain pod's end.
  std::size_t of(const explain::ReachJudge& judge, policy::Direction direction,
                 const explain::ReachJudge::PodView& pod,
                 const explain::ReachJudge::Peer& peer, std::size_t port);
  // That of a side of explain's answer.
  std::size_t of(const explain::SideView& side);
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
