// SPDX-License-Identifier: Apache-2.0
#include "lib/preview/both_worlds.h"

#include <algorithm>
#include <utility>

#include "lib/explain/cluster.h"
#include "lib/explain/text.h"

namespace sluice::preview {
namespace {

using policy::Direction;

// Peer and own pod of an end, as the other end's policies see it.
const ReachJudge::Peer* peer_of(const BothWorlds::End& end, bool after,
                                std::size_t family) {
  if (end.pod != nullptr) {
    const auto* view = after ? end.pod->view.after : end.pod->view.before;
    const auto& peer = view->peers[family];
    return peer ? &*peer : nullptr;
  }
  const auto& peer = after ? end.address->after : end.address->before;
  return peer.address.v6 == (family == 1) ? &peer : nullptr;
}

const ReachJudge::PodView* pod_of(const BothWorlds::End& end, bool after) {
  if (end.pod == nullptr) {
    return nullptr;
  }
  return after ? end.pod->view.after : end.pod->view.before;
}

// What an end allows; nullptr: everything, because it is no pod.
const PortBits* side_of(ReachJudge& judge, Direction direction,
                        const ReachJudge::PodView* pod,
                        const ReachJudge::Peer& peer) {
  return pod == nullptr ? nullptr : &judge.one_side(direction, *pod, peer);
}

std::uint64_t word_of(const PortBits* bits, std::size_t word) {
  return bits == nullptr ? ~std::uint64_t{0} : (*bits)[word];
}

bool has(const PortBits& bits, std::size_t place) {
  constexpr std::size_t kWordBits = 64;
  return (bits[place / kWordBits] >> (place % kWordBits) & 1U) != 0;
}

// True for an end that both worlds know as the same.
bool is_same(const BothWorlds::End& end) {
  return end.pod != nullptr
             ? end.pod->same
             : end.address->before.cidr_id == end.address->after.cidr_id;
}

// The side that decides: one that denies; without a verdict of its own, the
// first of a direction.
const explain::SideView* denying(const explain::ExplainView& view) {
  const auto found = std::ranges::find_if(
      view.sides, [](const explain::SideView& side) { return !side.allowed; });
  return found == view.sides.end() ? nullptr : &*found;
}

const explain::SideView* like(const explain::ExplainView& view,
                              const explain::SideView& side) {
  const auto found =
      std::ranges::find_if(view.sides, [&](const explain::SideView& other) {
        return other.direction == side.direction &&
               other.endpoint == side.endpoint && other.peer == side.peer;
      });
  return found == view.sides.end() ? nullptr : &*found;
}

}  // namespace

bool is_any(const PortBits& bits) {
  return std::ranges::any_of(bits,
                             [](std::uint64_t word) { return word != 0; });
}

BothWorlds::BothWorlds(const policy::Translator& before,
                       const policy::Translator& after,
                       ReachJudge& judge_before, ReachJudge& judge_after)
    : translators_{.before = &before, .after = &after},
      judges_{.before = &judge_before, .after = &judge_after} {}

const PortBits& BothWorlds::leading_on(const IpAddress& address) {
  const auto [found, added] = leading_on_.try_emplace(address);
  if (added) {
    found->second = judges_.before->leading_on(address);
    const auto later = judges_.after->leading_on(address);
    for (std::size_t word = 0; word < later.size(); ++word) {
      found->second[word] |= later[word];
    }
    has_left_out_ = has_left_out_ || is_any(found->second);
  }
  return found->second;
}

bool BothWorlds::may_differ(const End& from, const End& to) {
  if (is_same(from) && is_same(to)) {
    return false;
  }
  if (!is_plain(from) || !is_plain(to)) {
    return true;
  }
  for (std::size_t family = 0; family < 2; ++family) {
    std::array<std::array<const PortBits*, 2>, 2> sides{};  // world, end
    std::array<bool, 2> there{};
    for (const bool after : {false, true}) {
      const auto* source = peer_of(from, after, family);
      const auto* destination = peer_of(to, after, family);
      there[after ? 1 : 0] = source != nullptr && destination != nullptr;
      if (there[after ? 1 : 0]) {
        auto& judge = after ? *judges_.after : *judges_.before;
        sides[after ? 1 : 0] = {
            side_of(judge, Direction::kEgress, pod_of(from, after),
                    *destination),
            side_of(judge, Direction::kIngress, pod_of(to, after), *source)};
      }
    }
    if (there[0] != there[1]) {
      return true;
    }
    if (!there[0]) {
      continue;
    }
    const auto words = judges_.before->of_family(family == 1).size();
    for (std::size_t word = 0; word < words; ++word) {
      if ((word_of(sides[0][0], word) & word_of(sides[0][1], word)) !=
          (word_of(sides[1][0], word) & word_of(sides[1][1], word))) {
        return true;
      }
    }
  }
  return false;
}

ReachJudge::Verdicts BothWorlds::judge(bool after, const End& from,
                                       const End& to) {
  auto& judge = after ? *judges_.after : *judges_.before;
  if (from.pod != nullptr && to.pod != nullptr) {
    return judge.between(*pod_of(from, after), *pod_of(to, after));
  }
  if (from.pod == nullptr) {
    return judge.from_outside(
        after ? from.address->after : from.address->before, *pod_of(to, after));
  }
  const auto& peer = after ? to.address->after : to.address->before;
  auto verdicts = judge.to_plain_outside(*pod_of(from, after), peer);
  const auto& behind = leading_on(peer.address);
  for (std::size_t word = 0; word < behind.size(); ++word) {
    verdicts.allowed[word] &= ~behind[word];
    verdicts.denied[word] &= ~behind[word];
  }
  return verdicts;
}

Difference BothWorlds::compare(const End& from, const End& to) {
  const auto before = judge(false, from, to);
  const auto after = judge(true, from, to);
  Difference result{.stays_allowed = before.allowed,
                    .stays_denied = before.denied,
                    .allowed = before.denied,
                    .denied = before.allowed};
  for (std::size_t word = 0; word < before.allowed.size(); ++word) {
    result.stays_allowed[word] &= after.allowed[word];
    result.stays_denied[word] &= after.denied[word];
    result.allowed[word] &= after.allowed[word];
    result.denied[word] &= after.denied[word];
  }
  return result;
}

// The first end that denies in the one world, and the same one in the other.
std::optional<BothWorlds::Decisions> BothWorlds::decide_plain(const End& from,
                                                              const End& to,
                                                              std::size_t port,
                                                              bool allowed) {
  const bool denying_after = !allowed;
  for (std::size_t family = 0; family < 2; ++family) {
    if (!has(judges_.before->of_family(family == 1), port)) {
      continue;
    }
    for (const auto direction : {Direction::kEgress, Direction::kIngress}) {
      const auto& own = direction == Direction::kEgress ? from : to;
      const auto& other = direction == Direction::kEgress ? to : from;
      Both<std::optional<std::size_t>> places;
      bool denies = false;
      for (const bool after : {false, true}) {
        auto& judge = after ? *judges_.after : *judges_.before;
        const auto* pod = pod_of(own, after);
        const auto* peer = peer_of(other, after, family);
        if (pod == nullptr || peer == nullptr || !pod->peers[family]) {
          continue;
        }
        if (after == denying_after) {
          denies = !has(judge.one_side(direction, *pod, *peer), port);
        }
        (after ? places.after : places.before) =
            reasons_.of(judge, direction, *pod, *peer, port);
      }
      if (denies && places.before && places.after) {
        return Decisions{.before = *places.before, .after = *places.after};
      }
    }
  }
  return std::nullopt;
}

BothWorlds::Decisions BothWorlds::decide(const End& from, const End& to,
                                         std::size_t port, bool allowed) {
  if (is_plain(from) && is_plain(to)) {
    if (const auto decided = decide_plain(from, to, port, allowed)) {
      return *decided;
    }
  }
  const explain::ExplainRequest request{
      .from = name_of(from),
      .to = name_of(to),
      .port = judges_.before->ports()[port].view().asked};
  const auto before = explain::explain_cluster(*translators_.before, request);
  const auto after = explain::explain_cluster(*translators_.after, request);
  const explain::SideView none;
  if (!before || !after) {
    return {.before = reasons_.of(none), .after = reasons_.of(none)};
  }
  const auto& denied = allowed ? *before : *after;
  const auto& other = allowed ? *after : *before;
  const auto* side = denying(denied);
  const auto* same = side == nullptr ? nullptr : like(other, *side);
  const auto of_denied = reasons_.of(side == nullptr ? none : *side);
  const auto of_other = reasons_.of(same == nullptr ? none : *same);
  return allowed ? Decisions{.before = of_denied, .after = of_other}
                 : Decisions{.before = of_other, .after = of_denied};
}

std::string BothWorlds::name_of(const End& end) const {
  return end.pod != nullptr ? end.pod->name()
                            : to_string(end.address->before.address);
}

}  // namespace sluice::preview
