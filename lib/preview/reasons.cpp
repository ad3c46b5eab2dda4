// SPDX-License-Identifier: Apache-2.0
#include "lib/preview/reasons.h"

#include <utility>

#include "lib/explain/text.h"

namespace sluice::preview {

std::size_t Reasons::of(const explain::ReachJudge& judge,
                        policy::Direction direction,
                        const explain::ReachJudge::PodView& pod,
                        const explain::ReachJudge::Peer& peer,
                        std::size_t port) {
  const auto [found, added] = asked_.try_emplace(
      Asked{&judge, pod.set(), peer.cidr_id, direction, port});
  if (added) {
    const auto decided = judge.decide(direction, pod, peer, port);
    Decision decision{
        .direction = std::string(
            explain::direction_text(static_cast<unsigned>(direction))),
        .reason = std::string(explain::reason_text(decided.reason)),
        .policy = {},
        .path = {},
        .isolating = {}};
    if (decided.rule != nullptr) {
      decision.policy = decided.rule->policy;
      decision.path = decided.rule->path;
    }
    if (decided.isolating != nullptr) {
      decision.isolating = *decided.isolating;
    }
    found->second = place_of(std::move(decision));
  }
  return found->second;
}

std::size_t Reasons::of(const explain::SideView& side) {
  return place_of({.direction = side.direction,
                   .reason = side.reason,
                   .policy = side.policy,
                   .path = side.path,
                   .isolating = side.isolating});
}

std::size_t Reasons::place_of(Decision decision) {
  return places_.try_emplace(std::move(decision), places_.size()).first->second;
}

std::vector<Decision> Reasons::decisions() const {
  std::vector<Decision> result(places_.size());
  for (const auto& [decision, place] : places_) {
    result[place] = decision;
  }
  return result;
}

}  // namespace sluice::preview
