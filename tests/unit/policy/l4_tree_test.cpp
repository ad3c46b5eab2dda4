// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/l4_tree.h"

#include <functional>
#include <random>

#include <gtest/gtest.h>

namespace sluice::policy {
namespace {

constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;

Candidate allow(std::uint16_t first, std::uint16_t last, std::uint32_t rule) {
  Candidate candidate;
  candidate.rule = rule;
  candidate.order = rule;
  candidate.ranges = {{.protocol = kTcp, .first = first, .last = last}};
  return candidate;
}

Candidate deny(std::uint16_t first, std::uint16_t last, std::uint32_t rule) {
  auto candidate = allow(first, last, rule);
  candidate.action = Action::kDeny;
  return candidate;
}

Candidate any(Action action, std::uint32_t rule) {
  Candidate candidate;
  candidate.action = action;
  candidate.rule = rule;
  candidate.order = rule;
  candidate.any_l4 = true;
  return candidate;
}

Decision decision(const std::vector<Candidate>& candidates, bool isolated) {
  std::vector<const Candidate*> pointers;
  pointers.reserve(candidates.size());
  for (const auto& candidate : candidates) {
    pointers.push_back(&candidate);
  }
  return {pointers, isolated};
}

constexpr Decided kDefaultDeny{.kind = Decided::Kind::kDeny,
                               .rule = SLUICE_RULE_DEFAULT_DENY_INGRESS};

// The longest entry for a packet, or null.
const L4Entry* lookup(const std::vector<L4Entry>& entries,
                      std::uint8_t protocol, std::uint16_t port) {
  const L4Entry* best = nullptr;
  for (const auto& entry : entries) {
    const bool hit =
        entry.prefixlen == SLUICE_PREFIX_ANY ||
        (entry.protocol == protocol &&
         (entry.port ^ port) >> (SLUICE_PREFIX_PORT - entry.prefixlen) == 0);
    if (hit && (best == nullptr || entry.prefixlen > best->prefixlen)) {
      best = &entry;
    }
  }
  return best;
}

TEST(PortPrefixes, CountsOfAppendixAV18) {
  const std::vector<std::tuple<int, int, std::size_t>> rows = {
      {80, 444, 9},      {1, 65534, 30},    {1, 65535, 16},
      {1024, 65535, 6},  {30000, 32767, 5}, {32000, 32768, 3},
      {49152, 65535, 1}, {0, 65535, 1},     {80, 81, 1},
      {81, 82, 2},       {1000, 2000, 8},   {443, 65535, 10}};
  for (const auto& [first, last, count] : rows) {
    EXPECT_EQ(port_prefixes(first, last).size(), count) << first << "-" << last;
  }
}

TEST(PortPrefixes, ExactListOfAppendixAV19) {
  const std::vector<PortPrefix> expected = {{80, 12},  {96, 11},  {128, 9},
                                            {256, 9},  {384, 11}, {416, 12},
                                            {432, 13}, {440, 14}, {444, 16}};
  EXPECT_EQ(port_prefixes(80, 444), expected);
}

TEST(CompileL4, DenyOfAnyPeerIsRepeatedWhereAClassAllowWouldHideIt) {
  const std::vector<Candidate> any_peer = {deny(80, 80, 20)};
  const std::vector<Candidate> both = {deny(80, 80, 20),
                                       any(Action::kAllow, 21)};
  const auto entries =
      compile_l4(decision(both, true), decision(any_peer, true), kDefaultDeny);
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(lookup(entries, kTcp, 80)->value.verdict, SLUICE_VERDICT_DENY);
  EXPECT_EQ(lookup(entries, kTcp, 80)->value.rule, 20U);
  EXPECT_EQ(lookup(entries, kTcp, 81)->value.verdict, SLUICE_VERDICT_ALLOW);
  EXPECT_EQ(lookup(entries, kUdp, 80)->value.rule, 21U);
}

TEST(CompileL4, ClassThatSaysNoMoreThanAnyPeerHasNoEntry) {
  const std::vector<Candidate> any_peer = {allow(0, 1023, 20)};
  const std::vector<Candidate> both = {allow(0, 1023, 20), allow(80, 90, 21)};
  EXPECT_TRUE(
      compile_l4(decision(both, true), decision(any_peer, true), kDefaultDeny)
          .empty());
}

TEST(CompileL4, PassInTheAdminTierGoesOnToTheDefault) {
  auto pass = any(Action::kPass, 20);
  pass.tier = Tier::kAdmin;
  auto wide = any(Action::kDeny, 21);
  wide.tier = Tier::kAdmin;
  // The class passes what any peer is denied: the default must be spelt out.
  const std::vector<Candidate> above = {pass, wide};
  const std::vector<Candidate> below = {wide};
  const auto entries = compile_l4(
      decision(above, false), decision(below, false),
      {.kind = Decided::Kind::kAllow, .rule = SLUICE_RULE_DEFAULT_ALLOW});
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].prefixlen, SLUICE_PREFIX_ANY);
  EXPECT_EQ(entries[0].value.verdict, SLUICE_VERDICT_ALLOW);
}

// Entries looked up as the datapath does give what asking every rule gives.
TEST(MergeRanges, OverlapsAndNeighboursOfOneProtocolBecomeOne) {
  std::vector<PortRange> ranges{
      {.protocol = 17, .first = 80, .last = 90},
      {.protocol = 6, .first = 101, .last = 65535},
      {.protocol = 6, .first = 80, .last = 90},
      {.protocol = 6, .first = 85, .last = 100},
      {.protocol = 6, .first = 70, .last = 78},
      {.protocol = 6, .first = 65535, .last = 65535},
  };
  merge_ranges(ranges);
  const std::vector<PortRange> expected{
      {.protocol = 6, .first = 70, .last = 78},
      {.protocol = 6, .first = 80, .last = 65535},
      {.protocol = 17, .first = 80, .last = 90},
  };
  EXPECT_EQ(ranges, expected);
}

Candidate random_candidate(int order,
                           const std::function<int(int, int)>& number) {
  Candidate candidate;
  candidate.rule = 16 + order;
  candidate.order = order;
  candidate.tier = static_cast<Tier>(number(0, 2));
  candidate.action = static_cast<Action>(
      candidate.tier == Tier::kNormal ? number(0, 1) : number(0, 2));
  candidate.any_l4 = number(0, 4) == 0;
  if (!candidate.any_l4) {
    const int first = number(0, 300);
    candidate.ranges = {
        {.protocol = number(0, 1) != 0 ? kTcp : kUdp,
         .first = static_cast<std::uint16_t>(first),
         .last = static_cast<std::uint16_t>(first + number(0, 200))}};
  }
  return candidate;
}

// Those of one range at most that hold for the port, as if for any.
std::vector<Candidate> matching_of(const std::vector<Candidate>& all,
                                   std::uint8_t protocol, int port) {
  std::vector<Candidate> matching;
  for (const auto& candidate : all) {
    if (candidate.any_l4 || (candidate.ranges[0].protocol == protocol &&
                             candidate.ranges[0].first <= port &&
                             port <= candidate.ranges[0].last)) {
      auto flat = candidate;
      flat.any_l4 = true;
      flat.ranges.clear();
      matching.push_back(flat);
    }
  }
  return matching;
}

TEST(CompileL4, RandomRulesGiveTheVerdictOfAskingEachRule) {
  std::mt19937 random(7);
  const auto number = [&](int low, int high) {
    return std::uniform_int_distribution(low, high)(random);
  };
  for (int round = 0; round < 400; ++round) {
    const bool isolated = number(0, 3) != 0;
    std::vector<Candidate> all;
    std::vector<Candidate> any_peer;
    const int count = number(1, 6);
    for (int i = 0; i < count; ++i) {
      const Candidate candidate = random_candidate(i, number);
      all.push_back(candidate);
      if (number(0, 1) != 0) {
        any_peer.push_back(candidate);
      }
    }
    const auto above = decision(all, isolated);
    const auto below = decision(any_peer, isolated);
    const Decided fallback = {.kind = isolated ? Decided::Kind::kDeny
                                               : Decided::Kind::kAllow};
    const auto entries = compile_l4(above, below, fallback);
    const auto base = compile_l4(below, decision({}, isolated), fallback);
    for (const std::uint8_t protocol : {kTcp, kUdp, std::uint8_t{47}}) {
      for (int port = 0; port < 520; ++port) {
        const auto matching = matching_of(all, protocol, port);
        const auto expected = decision(matching, isolated).any_protocol().kind;
        const bool allowed = expected == Decided::Kind::kDefault
                                 ? !isolated
                                 : expected == Decided::Kind::kAllow;
        const auto* entry =
            lookup(entries, protocol, static_cast<std::uint16_t>(port));
        if (entry == nullptr) {
          entry = lookup(base, protocol, static_cast<std::uint16_t>(port));
        }
        const bool got = entry == nullptr
                             ? !isolated
                             : entry->value.verdict == SLUICE_VERDICT_ALLOW;
        ASSERT_EQ(got, allowed) << "round " << round << " protocol "
                                << int{protocol} << " port " << port;
      }
    }
  }
}

}  // namespace
}  // namespace sluice::policy
