// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/l4_tree.h"

#include <algorithm>
#include <array>
#include <bit>
#include <set>
#include <tuple>

namespace sluice::policy {
namespace {

constexpr std::uint32_t kPorts = 65536;

// The candidates in the order of evaluation, and which of them count. A bit for
// each, so that the first one that counts is found a word at a time.
class Ranked {
 public:
  explicit Ranked(std::span<const Candidate* const> candidates)
      : order_(candidates.begin(), candidates.end()),
        depth_(candidates.size(), 0),
        counts_((candidates.size() + kBits - 1) / kBits, 0),
        names_(std::ranges::any_of(
            candidates,
            [](const auto* candidate) { return candidate->name_level != 0; })),
        dns_(std::ranges::any_of(candidates, [](const auto* candidate) {
          return candidate->dns != 0;
        })) {
    const auto before = [](const auto* a, const auto* b) {
      return asked_before(*a, *b);
    };
    if (!std::ranges::is_sorted(order_, before)) {
      std::ranges::stable_sort(order_, before);
    }
    for (const Tier tier : {Tier::kAdmin, Tier::kNormal, Tier::kBaseline}) {
      begins_[static_cast<std::size_t>(tier) + 1] =
          std::ranges::upper_bound(order_, tier, {}, &Candidate::tier) -
          order_.begin();
    }
  }

  [[nodiscard]] std::span<const Candidate* const> order() const {
    return order_;
  }
  // A candidate may name overlapping ranges, so the ranges that cover the port
  // are counted.
  void add(std::size_t rank, int change) {
    depth_[rank] += change;
    if (order_[rank]->name_level != 0) {
      return;  // decides nothing by itself
    }
    const auto bit = std::uint64_t{1} << rank % kBits;
    if (depth_[rank] > 0) {
      counts_[rank / kBits] |= bit;
    } else {
      counts_[rank / kBits] &= ~bit;
    }
  }
  void reset(const std::vector<int>& depth) {
    for (std::size_t rank = 0; rank < depth.size(); ++rank) {
      depth_[rank] = 0;
      add(rank, depth[rank]);
    }
  }
  // The candidate that decides in the tier, or null.
  struct First {
    const Candidate* candidate = nullptr;
    std::uint8_t name_levels = 0;  // of rules for names before it
  };
  [[nodiscard]] First first(Tier tier) const {
    const auto begin = begins_[static_cast<std::size_t>(tier)];
    const auto end = begins_[static_cast<std::size_t>(tier) + 1];
    const auto rank = first_rank(begin, end);
    return {.candidate = rank < end ? order_[rank] : nullptr,
            .name_levels = name_levels(begin, rank)};
  }
  // The first rule for names that counts, and the levels of all.
  [[nodiscard]] First all_names() const {
    First result{.name_levels = name_levels(0, order_.size())};
    for (std::size_t rank = 0; rank < order_.size(); ++rank) {
      if (depth_[rank] > 0) {
        result.candidate = order_[rank];
        break;
      }
    }
    return result;
  }

  // The names for which the tier's allow rules together let the peer be asked.
  [[nodiscard]] std::uint8_t dns(Tier tier) const {
    std::uint8_t lists = 0;
    bool every_name = false;
    const auto end = begins_[static_cast<std::size_t>(tier) + 1];
    for (auto rank = begins_[static_cast<std::size_t>(tier)];
         dns_ && rank < end; ++rank) {
      const auto& rule = *order_[rank];
      if (depth_[rank] > 0 && rule.name_level == 0 &&
          rule.action == Action::kAllow) {
        lists |= rule.dns;
        every_name |= rule.dns == 0 || rule.dns == SLUICE_DNS_ANY;
      }
    }
    return lists != 0 && every_name ? std::uint8_t{SLUICE_DNS_ANY} : lists;
  }

 private:
  // `end` if no candidate counts.
  [[nodiscard]] std::size_t first_rank(std::size_t begin,
                                       std::size_t end) const {
    for (auto at = begin; at < end; at = (at / kBits + 1) * kBits) {
      const auto word = counts_[at / kBits] >> at % kBits;
      if (word != 0) {
        const auto rank = at + static_cast<std::size_t>(std::countr_zero(word));
        return std::min(rank, end);
      }
    }
    return end;
  }
  [[nodiscard]] std::uint8_t name_levels(std::size_t begin,
                                         std::size_t end) const {
    std::uint8_t levels = 0;
    for (auto rank = begin; names_ && rank < end; ++rank) {
      if (depth_[rank] > 0) {
        levels |= order_[rank]->name_level;
      }
    }
    return levels;
  }

  static constexpr std::size_t kBits = 64;
  std::vector<const Candidate*> order_;
  std::vector<int> depth_;               // by rank
  std::vector<std::uint64_t> counts_;    // depth above 0, rules for names not
  bool names_ = false;                   // some candidate is a rule for names
  bool dns_ = false;                     // some candidate speaks of DNS
  std::array<std::size_t, 4> begins_{};  // of tiers in `order_`
};

Decided decide(const Ranked& ranked, bool isolated) {
  using Kind = Decided::Kind;
  std::uint8_t name_levels = 0;
  const auto decided_by = [&](const Candidate& candidate) {
    const bool deny = candidate.action == Action::kDeny;
    std::uint8_t dns = deny ? std::uint8_t{0} : ranked.dns(candidate.tier);
    if (!deny && !isolated) {
      if (candidate.jump == SLUICE_JUMP_NONE && dns == 0) {
        return Decided{};  // allowed anyway: needs no entry
      }
      dns = dns == 0 ? dns : std::uint8_t{SLUICE_DNS_ANY};  // so do questions
    }
    return Decided{
        .kind = deny ? Kind::kDeny : Kind::kAllow,
        .jump = deny ? std::uint16_t{SLUICE_JUMP_NONE} : candidate.jump,
        .rule = candidate.rule,
        .tier = candidate.tier,
        .name_levels = deny ? name_levels : std::uint8_t{0},
        .dns = dns};
  };
  const auto first = [&](Tier tier) {
    const auto found = ranked.first(tier);
    name_levels |= found.name_levels;
    return found.candidate;
  };
  const auto* admin = first(Tier::kAdmin);
  if (admin != nullptr && admin->action != Action::kPass) {
    return decided_by(*admin);
  }
  if (const auto* normal = first(Tier::kNormal)) {
    return decided_by(*normal);
  }
  if (isolated) {
    // The normal tier is final for an isolated endpoint.
    return {.name_levels = name_levels};
  }
  const auto* baseline = first(Tier::kBaseline);
  if (baseline != nullptr && baseline->action != Action::kPass) {
    return decided_by(*baseline);
  }
  return {};
}

Decided decide_of_name(const Ranked& ranked) {
  const auto found = ranked.all_names();
  if (found.candidate == nullptr) {
    return {};
  }
  return {.kind = Decided::Kind::kAllow,
          .jump = found.candidate->jump,
          .rule = found.candidate->rule,
          .tier = found.candidate->tier,
          .name_levels = found.name_levels};
}

// Where a candidate begins (+1) or ends (-1) to count.
struct Edge {
  std::uint32_t port = 0;
  std::uint32_t rank = 0;
  int change = 0;
};

template <typename Decide>
Decision::Segments sweep(Ranked& ranked, std::vector<Edge>& edges,
                         const Decide& decide_now) {
  std::ranges::sort(edges, {}, &Edge::port);
  Decision::Segments result;
  std::uint32_t from = 0;
  const auto close = [&](std::uint32_t to) {
    if (to == from) {
      return;
    }
    const auto decided = decide_now(ranked);
    if (!result.empty() && result.back().decided == decided) {
      result.back().last = static_cast<std::uint16_t>(to - 1);
    } else {
      result.push_back({.first = static_cast<std::uint16_t>(from),
                        .last = static_cast<std::uint16_t>(to - 1),
                        .decided = decided});
    }
    from = to;
  };
  for (const auto& edge : edges) {
    close(edge.port);
    ranked.add(edge.rank, edge.change);
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
          .flags = static_cast<__u8>(decided.name_levels | decided.dns),
          .jump = effective.jump,
          .rule = effective.rule};
}

bool same_verdict(const Decided& a, const Decided& b) {
  return a.kind == b.kind && a.jump == b.jump &&
         a.name_levels == b.name_levels && a.dns == b.dns;
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
  PortTree(std::uint8_t protocol, const Decided* inherited,
           const Decided& fallback, std::vector<L4Entry>& out)
      : protocol_(protocol),
        inherited_(inherited),
        fallback_(fallback),
        out_(out) {}

  // `pieces`: those that overlap the 2^(16 - length) ports from `first` on.
  void emit(std::uint32_t first, int length, std::span<const Piece> pieces) {
    bool covered = true;
    bool constant = true;
    for (const auto& piece : pieces) {
      covered = covered && (inherited_ != nullptr
                                ? same_verdict(piece.above, *inherited_)
                                : same_verdict(piece.above, piece.below));
      constant = constant && piece.above == pieces.front().above;
      if (!covered && !constant) {
        break;  // nothing that follows changes this
      }
    }
    if (covered) {
      return;
    }
    if (constant) {
      out_.push_back({.protocol = protocol_,
                      .prefixlen = static_cast<std::uint8_t>(
                          SLUICE_PREFIX_PROTOCOL + length),
                      .port = static_cast<std::uint16_t>(first),
                      .value = value_of(pieces.front().above, fallback_)});
      return;
    }
    const std::uint32_t middle = first + (kPorts >> (length + 1));
    const auto below = std::ranges::partition_point(
        pieces, [&](const Piece& piece) { return piece.last < middle; });
    const auto split = static_cast<std::size_t>(below - pieces.begin());
    const bool shared = split < pieces.size() && below->first < middle;
    emit(first, length + 1, pieces.first(split + (shared ? 1 : 0)));
    emit(middle, length + 1, pieces.subspan(split));
  }

 private:
  std::uint8_t protocol_;
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

std::uint8_t asked_of_both(std::uint8_t a, std::uint8_t b) {
  if (a == 0 || b == 0) {
    return a | b;
  }
  if (a == SLUICE_DNS_ANY || b == SLUICE_DNS_ANY) {
    return a & b;
  }
  const bool none = a == kDnsNone || b == kDnsNone || (a & b) == 0;
  return none ? kDnsNone : a & b;
}

bool set_name_levels(std::span<Candidate* const> candidates) {
  std::vector<Candidate*> order(candidates.begin(), candidates.end());
  std::ranges::stable_sort(
      order, [](const auto* a, const auto* b) { return asked_before(*a, *b); });
  int levels = 0;
  const Candidate* last = nullptr;  // the rule before that shares its level
  for (auto* candidate : order) {
    if (candidate->name_level == 0) {
      last = candidate->action == Action::kAllow ? last : nullptr;
      continue;
    }
    if (last == nullptr || last->tier != candidate->tier) {
      ++levels;
    }
    last = candidate;
    candidate->name_level = levels > kNameLevelsMax
                                ? std::uint8_t{0}
                                : static_cast<std::uint8_t>(1U << (levels - 1));
  }
  return levels <= kNameLevelsMax;
}

template <typename Decide>
void Decision::fill(std::span<const Candidate* const> candidates,
                    const Decide& decide_now) {
  Ranked ranked(candidates);
  const auto order = ranked.order();
  std::vector<int> any(order.size(), 0);
  std::map<std::uint8_t, std::vector<Edge>> edges;
  for (std::uint32_t rank = 0; rank < order.size(); ++rank) {
    any[rank] = order[rank]->any_l4 ? 1 : 0;
    for (const auto& range : order[rank]->ranges) {
      auto& list = edges[range.protocol];
      if (range.first <= range.last) {
        list.push_back({.port = range.first, .rank = rank, .change = 1});
        list.push_back({.port = range.last + 1U, .rank = rank, .change = -1});
      }
    }
  }
  ranked.reset(any);
  any_ = decide_now(ranked);
  for (auto& [protocol, list] : edges) {
    ranked.reset(any);
    protocols_[protocol] = sweep(ranked, list, decide_now);
  }
}

Decision::Decision(std::span<const Candidate* const> candidates,
                   bool isolated) {
  fill(candidates,
       [&](const Ranked& ranked) { return decide(ranked, isolated); });
}

Decision Decision::of_name(std::span<const Candidate* const> candidates) {
  Decision result;
  result.fill(candidates, decide_of_name);
  return result;
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
  std::vector<const Candidate*> covering;
  for (const auto& candidate : candidates) {
    const bool covers =
        candidate.any_l4 ||
        std::ranges::any_of(candidate.ranges, [&](const PortRange& range) {
          return range.protocol == protocol && range.first <= port &&
                 port <= range.last;
        });
    if (covers) {
      covering.push_back(&candidate);
    }
  }
  Ranked ranked(covering);
  ranked.reset(std::vector<int>(covering.size(), 1));
  return decide(ranked, isolated);
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
    PortTree(protocol, own_any ? &above.any_protocol() : nullptr, fallback, out)
        .emit(0, 0, pieces);
  }
  return out;
}

void merge_ranges(std::vector<PortRange>& ranges) {
  std::ranges::sort(ranges);
  std::vector<PortRange> result;
  for (const auto& range : ranges) {
    if (!result.empty() && result.back().protocol == range.protocol &&
        range.first <= std::uint32_t{result.back().last} + 1) {
      result.back().last = std::max(result.back().last, range.last);
    } else {
      result.push_back(range);
    }
  }
  ranges = std::move(result);
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
