// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/l4_tree.h"

#include <algorithm>
#include <array>
#include <set>
#include <tuple>

namespace sluice::policy {
namespace {

constexpr std::uint32_t kPorts = 65536;

struct AskedBefore {
  bool operator()(const Candidate* a, const Candidate* b) const {
    if (asked_before(*a, *b)) {
      return true;
    }
    return !asked_before(*b, *a) && a < b;
  }
};
using Active = std::set<const Candidate*, AskedBefore>;

// The first active candidate of a tier, or null.
const Candidate* first_of(const Active& active, Tier tier) {
  for (const auto* candidate : active) {
    if (candidate->tier == tier) {
      return candidate;
    }
    if (candidate->tier > tier) {
      break;
    }
  }
  return nullptr;
}

Decided decide(const Active& active, bool isolated) {
  using Kind = Decided::Kind;
  const auto decided_by = [&](const Candidate& candidate) {
    const bool deny = candidate.action == Action::kDeny;
    if (!deny && !isolated && candidate.jump == SLUICE_JUMP_NONE) {
      return Decided{};  // allowed anyway: needs no entry
    }
    return Decided{
        .kind = deny ? Kind::kDeny : Kind::kAllow,
        .jump = deny ? std::uint16_t{SLUICE_JUMP_NONE} : candidate.jump,
        .rule = candidate.rule};
  };
  if (active.empty()) {
    return {};
  }
  const auto* admin = first_of(active, Tier::kAdmin);
  if (admin != nullptr && admin->action != Action::kPass) {
    return decided_by(*admin);
  }
  if (const auto* normal = first_of(active, Tier::kNormal)) {
    return decided_by(*normal);
  }
  if (isolated) {
    return {};  // the normal tier is final for an isolated endpoint
  }
  const auto* baseline = first_of(active, Tier::kBaseline);
  if (baseline != nullptr && baseline->action != Action::kPass) {
    return decided_by(*baseline);
  }
  return {};
}

Decision::Segments sweep(std::span<const Candidate* const> candidates,
                         std::uint8_t protocol, bool isolated) {
  // Port -> candidates that begin (+1) or end (-1) to count there. A candidate
  // may name overlapping ranges, so it counts how many cover the port.
  std::map<std::uint32_t, std::vector<std::pair<const Candidate*, int>>> edges;
  Active active;
  std::map<const Candidate*, int> depth;
  for (const auto* candidate : candidates) {
    if (candidate->any_l4) {
      active.insert(candidate);
      depth[candidate] = 1;
    }
    for (const auto& range : candidate->ranges) {
      if (range.protocol == protocol && range.first <= range.last) {
        edges[range.first].emplace_back(candidate, 1);
        edges[range.last + 1U].emplace_back(candidate, -1);
      }
    }
  }
  Decision::Segments result;
  std::uint32_t from = 0;
  const auto close = [&](std::uint32_t to) {
    if (to == from) {
      return;
    }
    const auto decided = decide(active, isolated);
    if (!result.empty() && result.back().decided == decided) {
      result.back().last = static_cast<std::uint16_t>(to - 1);
    } else {
      result.push_back({.first = static_cast<std::uint16_t>(from),
                        .last = static_cast<std::uint16_t>(to - 1),
                        .decided = decided});
    }
    from = to;
  };
  for (const auto& [port, changes] : edges) {
    close(port);
    for (const auto& [candidate, change] : changes) {
      int& count = depth[candidate];
      count += change;
      if (count == 0) {
        active.erase(candidate);
      } else {
        active.insert(candidate);
      }
    }
  }
  close(kPorts);
  return result;
}

sluice_policy_value value_of(const Decided& decided, const Decided& fallback) {
  const auto& effective =
      decided.kind == Decided::Kind::kDefault ? fallback : decided;
  return {.verdict = static_cast<__u8>(effective.kind == Decided::Kind::kDeny
                                           ? SLUICE_VERDICT_DENY
                                           : SLUICE_VERDICT_ALLOW),
          .flags = 0,
          .jump = effective.jump,
          .rule = effective.rule};
}

bool same_verdict(const Decided& a, const Decided& b) {
  return a.kind == b.kind && a.jump == b.jump;
}

// A port range over which both decisions are constant.
struct Piece {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  Decided above;
  Decided below;
};

std::vector<Piece> merge(const Decision::Segments& above,
                         const Decision::Segments& below) {
  std::vector<Piece> pieces;
  auto a = above.begin();
  auto b = below.begin();
  while (a != above.end() && b != below.end()) {
    const auto last = std::min(a->last, b->last);
    pieces.push_back({.first = std::max(a->first, b->first),
                      .last = last,
                      .above = a->decided,
                      .below = b->decided});
    if (a->last == last) {
      ++a;
    }
    if (b->last == last) {
      ++b;
    }
  }
  return pieces;
}

// Writes the entries of one protocol by halving the port space.
class PortTree {
 public:
  // `inherited`: the any-protocol entry of the same class, or null if a port
  // without an entry falls through to `below`.
  PortTree(std::uint8_t protocol, std::span<const Piece> pieces,
           const Decided* inherited, const Decided& fallback,
           std::vector<L4Entry>& out)
      : protocol_(protocol),
        pieces_(pieces),
        inherited_(inherited),
        fallback_(fallback),
        out_(out) {}

  void emit(std::uint32_t first, int length) {
    const std::uint32_t last = first + (kPorts >> length) - 1;
    auto begin = std::ranges::partition_point(
        pieces_, [&](const Piece& piece) { return piece.last < first; });
    auto end = begin;
    bool covered = true;
    bool constant = true;
    for (; end != pieces_.end() && end->first <= last; ++end) {
      covered = covered &&
                (inherited_ != nullptr ? same_verdict(end->above, *inherited_)
                                       : same_verdict(end->above, end->below));
      constant = constant && end->above == begin->above;
    }
    if (covered) {
      return;
    }
    if (constant) {
      out_.push_back({.protocol = protocol_,
                      .prefixlen = static_cast<std::uint8_t>(
                          SLUICE_PREFIX_PROTOCOL + length),
                      .port = static_cast<std::uint16_t>(first),
                      .value = value_of(begin->above, fallback_)});
      return;
    }
    emit(first, length + 1);
    emit(first + (kPorts >> (length + 1)), length + 1);
  }

 private:
  std::uint8_t protocol_;
  std::span<const Piece> pieces_;
  const Decided* inherited_;
  const Decided& fallback_;
  std::vector<L4Entry>& out_;
};

}  // namespace

bool asked_before(const Candidate& a, const Candidate& b) {
  const auto rank = [](const Candidate& c) {
    const int allow_last =
        c.tier == Tier::kNormal && c.action != Action::kDeny ? 1 : 0;
    return std::tuple(c.tier, allow_last, c.order, c.rule);
  };
  return rank(a) < rank(b);
}

Decision::Decision(std::span<const Candidate* const> candidates,
                   bool isolated) {
  Active any;
  for (const auto* candidate : candidates) {
    if (candidate->any_l4) {
      any.insert(candidate);
    }
    for (const auto& range : candidate->ranges) {
      protocols_.try_emplace(range.protocol);
    }
  }
  any_ = decide(any, isolated);
  for (auto& [protocol, segments] : protocols_) {
    segments = sweep(candidates, protocol, isolated);
  }
}

Decision::Segments Decision::segments(std::uint8_t protocol) const {
  const auto it = protocols_.find(protocol);
  if (it != protocols_.end()) {
    return it->second;
  }
  return {{.first = 0, .last = kPorts - 1, .decided = any_}};
}

void Decision::override_port(std::uint8_t protocol, std::uint16_t port,
                             const Decided& decided) {
  Segments result;
  const auto add = [&](std::uint32_t first, std::uint32_t last,
                       const Decided& said) {
    if (first > last) {
      return;
    }
    if (!result.empty() && result.back().decided == said) {
      result.back().last = static_cast<std::uint16_t>(last);
      return;
    }
    result.push_back({.first = static_cast<std::uint16_t>(first),
                      .last = static_cast<std::uint16_t>(last),
                      .decided = said});
  };
  for (const auto& segment : segments(protocol)) {
    if (port < segment.first || port > segment.last) {
      add(segment.first, segment.last, segment.decided);
      continue;
    }
    if (port > segment.first) {
      add(segment.first, port - 1U, segment.decided);
    }
    add(port, port, decided);
    add(port + 1U, segment.last, segment.decided);
  }
  protocols_[protocol] = std::move(result);
}

Decided decide_at(std::span<const Candidate> candidates, bool isolated,
                  std::uint8_t protocol, std::uint16_t port) {
  Active active;
  for (const auto& candidate : candidates) {
    const bool covers =
        candidate.any_l4 ||
        std::ranges::any_of(candidate.ranges, [&](const PortRange& range) {
          return range.protocol == protocol && range.first <= port &&
                 port <= range.last;
        });
    if (covers) {
      active.insert(&candidate);
    }
  }
  return decide(active, isolated);
}

bool L4Entry::operator==(const L4Entry& other) const {
  return std::tuple(protocol, prefixlen, port, value.verdict, value.flags,
                    value.jump, value.rule) ==
         std::tuple(other.protocol, other.prefixlen, other.port,
                    other.value.verdict, other.value.flags, other.value.jump,
                    other.value.rule);
}

std::vector<L4Entry> compile_l4(const Decision& above, const Decision& below,
                                const Decided& fallback) {
  std::vector<L4Entry> out;
  const bool own_any =
      !same_verdict(above.any_protocol(), below.any_protocol());
  if (own_any) {
    out.push_back({.protocol = 0,
                   .prefixlen = SLUICE_PREFIX_ANY,
                   .port = 0,
                   .value = value_of(above.any_protocol(), fallback)});
  }
  std::set<std::uint8_t> protocols;
  for (const auto* decision : {&above, &below}) {
    for (const auto& entry : decision->protocols()) {
      protocols.insert(entry.first);
    }
  }
  for (const auto protocol : protocols) {
    const auto pieces =
        merge(above.segments(protocol), below.segments(protocol));
    PortTree(protocol, pieces, own_any ? &above.any_protocol() : nullptr,
             fallback, out)
        .emit(0, 0);
  }
  return out;
}

std::vector<PortPrefix> port_prefixes(std::uint16_t first, std::uint16_t last) {
  Candidate candidate;
  candidate.ranges.push_back({.protocol = 6, .first = first, .last = last});
  const std::array<const Candidate*, 1> list{&candidate};
  std::vector<PortPrefix> result;
  for (const auto& entry :
       compile_l4(Decision(list, true), Decision({}, true), {})) {
    result.push_back({.port = entry.port,
                      .length = entry.prefixlen - SLUICE_PREFIX_PROTOCOL});
  }
  return result;
}

}  // namespace sluice::policy
