// SPDX-License-Identifier: Apache-2.0
#include "lib/preview/reasons.h"

#include <algorithm>
#include <utility>

#include "lib/explain/text.h"

namespace sluice::preview {
namespace {

const explain::SideView* denying(const explain::ExplainView& view) {
  const auto found = std::ranges::find_if(
      view.sides, [](const explain::SideView& side) { return !side.allowed; });
  return found == view.sides.end() ? nullptr : &*found;
}

const explain::SideView* like(const explain::ExplainView& view,
                              const explain::SideView* side) {
  if (side == nullptr) {
    return nullptr;
  }
  const auto found =
      std::ranges::find_if(view.sides, [&](const explain::SideView& other) {
        return other.direction == side->direction &&
               other.endpoint == side->endpoint && other.peer == side->peer;
      });
  return found == view.sides.end() ? nullptr : &*found;
}

}  // namespace

DecidingSides deciding_sides(const explain::ExplainView& before,
                             const explain::ExplainView& after) {
  if (after.allowed) {
    const auto* side = denying(before);
    return {.before = side, .after = like(after, side)};
  }
  const auto* side = denying(after);
  return {.before = like(before, side), .after = side};
}

Decision decision_of(const explain::SideView* side) {
  if (side == nullptr) {
    return {};
  }
  return {.direction = side->direction,
          .reason = side->reason,
          .policy = side->policy,
          .path = side->path,
          .isolating = side->isolating};
}

std::size_t Reasons::of(const explain::ReachJudge& judge,
                        policy::Direction direction,
                        const explain::ReachJudge::PodView& pod,
                        const explain::ReachJudge::Peer& peer,
                        std::size_t port) {
  const auto [found, added] = asked_.try_emplace(
      Asked{&judge, pod.set(), judge.class_to(pod.set(), peer.cidr_id),
            direction, port});
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
