// SPDX-License-Identifier: Apache-2.0
#include "lib/preview/both_worlds.h"

#include <algorithm>
#include <array>
#include <utility>

#include "lib/explain/cluster.h"
#include "lib/explain/text.h"

namespace sluice::preview {
namespace {

using policy::Direction;

// An end as the other end's policies see it; nullptr: not in this family.
const ReachJudge::Peer* peer_of(const BothWorlds::End& end, bool after,
                                bool v6) {
  if (end.pod != nullptr) {
    const auto* view = after ? end.pod->view.after : end.pod->view.before;
    const auto& peer = view->peers.at(v6 ? 1 : 0);
    return peer ? &*peer : nullptr;
  }
  const auto& peer = after ? end.address->after : end.address->before;
  return peer.address.v6 == v6 ? &peer : nullptr;
}

const ReachJudge::PodView* pod_of(const BothWorlds::End& end, bool after) {
  if (end.pod == nullptr) {
    return nullptr;
  }
  return after ? end.pod->view.after : end.pod->view.before;
}

std::uint64_t word_of(const PortBits* bits, std::size_t word) {
  return bits == nullptr ? ~std::uint64_t{0} : (*bits)[word];
}

bool has(const PortBits& bits, std::size_t place) {
  constexpr std::size_t kWordBits = 64;
  return (bits[place / kWordBits] >> (place % kWordBits) & 1U) != 0;
}

bool is_plain(const BothWorlds::End& end) {
  return end.pod == nullptr || end.pod->is_plain();
}

// True for an end that both worlds know as the same.
bool is_same(const BothWorlds::End& end) {
  return end.pod != nullptr
             ? end.pod->same
             : end.address->before.cidr_id == end.address->after.cidr_id;
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
  return std::ranges::any_of(std::array{false, true}, [&](bool v6) {
    const auto before = sides_of(false, from, to, v6);
    const auto after = sides_of(true, from, to, v6);
    return before.has_value() != after.has_value() ||
           (before && !allow_same(*before, *after));
  });
}

// nullopt if the ends do not share the family.
std::optional<BothWorlds::Sides> BothWorlds::sides_of(bool after,
                                                      const End& from,
                                                      const End& to, bool v6) {
  const auto* source = peer_of(from, after, v6);
  const auto* destination = peer_of(to, after, v6);
  if (source == nullptr || destination == nullptr) {
    return std::nullopt;
  }
  auto& judge = judge_of(after);
  Sides sides;
  if (const auto* pod = pod_of(from, after)) {
    sides.egress = &judge.one_side(Direction::kEgress, *pod, *destination);
  }
  if (const auto* pod = pod_of(to, after)) {
    sides.ingress = &judge.one_side(Direction::kIngress, *pod, *source);
  }
  return sides;
}

bool BothWorlds::allow_same(const Sides& before, const Sides& after) const {
  const auto words = judges_.before->of_family(false).size();
  for (std::size_t word = 0; word < words; ++word) {
    if ((word_of(before.egress, word) & word_of(before.ingress, word)) !=
        (word_of(after.egress, word) & word_of(after.ingress, word))) {
      return false;
    }
  }
  return true;
}

ReachJudge::Verdicts BothWorlds::judge(bool after, const End& from,
                                       const End& to) {
  auto& judge = judge_of(after);
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

// The decisions of one end, if it denies in the one world and both worlds have
// it.
std::optional<BothWorlds::Decisions> BothWorlds::decide_side(
    Direction direction, const End& own, const End& other, bool v6,
    std::size_t port, bool denied_after) {
  Both<std::optional<std::size_t>> places;
  for (const bool after : {false, true}) {
    const auto* pod = pod_of(own, after);
    const auto* peer = peer_of(other, after, v6);
    if (pod == nullptr || peer == nullptr || !pod->peers.at(v6 ? 1 : 0)) {
      return std::nullopt;
    }
    auto& judge = judge_of(after);
    if (after == denied_after &&
        has(judge.one_side(direction, *pod, *peer), port)) {
      return std::nullopt;
    }
    (after ? places.after : places.before) =
        reasons_.of(judge, direction, *pod, *peer, port);
  }
  return Decisions{.before = *places.before, .after = *places.after};
}

// By the first end that denies in the one world.
std::optional<BothWorlds::Decisions> BothWorlds::decide_plain(const End& from,
                                                              const End& to,
                                                              std::size_t port,
                                                              bool allowed) {
  for (const bool v6 : {false, true}) {
    if (!has(judges_.before->of_family(v6), port)) {
      continue;
    }
    if (auto decided =
            decide_side(Direction::kEgress, from, to, v6, port, !allowed)) {
      return decided;
    }
    if (auto decided =
            decide_side(Direction::kIngress, to, from, v6, port, !allowed)) {
      return decided;
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
  const auto sides =
      before && after ? deciding_sides(*before, *after) : DecidingSides{};
  return {.before = reasons_.of(sides.before),
          .after = reasons_.of(sides.after)};
}

std::string BothWorlds::name_of(const End& end) {
  return end.pod != nullptr ? end.pod->name()
                            : to_string(end.address->before.address);
}

}  // namespace sluice::preview
