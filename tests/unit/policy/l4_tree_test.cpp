// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/l4_tree.h"

#include <array>
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

// Rules for two names among others: what the datapath finds by class, and then
// by the names that an address has, is what the rules say if those for other
// names are left out.
class Names : public ::testing::Test {
 protected:
  struct Rule {
    Candidate candidate;
    int name = -1;  // of a rule for a name
    bool any_peer = false;
  };

  int number(int low, int high) {
    return std::uniform_int_distribution(low, high)(random_);
  }

  std::vector<Rule> random_rules() {
    std::vector<Rule> rules;
    const int count = number(1, 8);
    for (int i = 0; i < count; ++i) {
      Rule rule{.candidate = random_candidate(
                    i, [this](int low, int high) { return number(low, high); }),
                .any_peer = number(0, 1) != 0};
      if (number(0, 1) != 0) {
        rule.candidate.action = Action::kAllow;
        rule.candidate.name_level = 1;
        rule.name = number(0, 1);
      }
      rules.push_back(std::move(rule));
    }
    std::vector<Candidate*> pointers;
    pointers.reserve(rules.size());
    for (auto& rule : rules) {
      pointers.push_back(&rule.candidate);
    }
    EXPECT_TRUE(set_name_levels(pointers));
    return rules;
  }

  template <typename Wanted>
  static std::vector<const Candidate*> those(const std::vector<Rule>& rules,
                                             const Wanted& wanted) {
    std::vector<const Candidate*> result;
    for (const auto& rule : rules) {
      if (wanted(rule)) {
        result.push_back(&rule.candidate);
      }
    }
    return result;
  }

  // The verdict if the address has the names whose bit is set.
  static bool ask_rules(const std::vector<Rule>& rules, int names,
                        bool isolated, std::uint8_t protocol, int port) {
    std::vector<Candidate> all;
    for (const auto& rule : rules) {
      if (rule.name < 0 || (names >> rule.name & 1) != 0) {
        all.push_back(rule.candidate);
        all.back().name_level = 0;
      }
    }
    const auto kind =
        decide_at(all, isolated, protocol, static_cast<std::uint16_t>(port))
            .kind;
    return kind == Decided::Kind::kDefault ? !isolated
                                           : kind == Decided::Kind::kAllow;
  }

  // The entries of rules as the datapath looks them up.
  struct Compiled {
    bool isolated = false;
    std::vector<L4Entry> entries;  // of the peer's class
    std::vector<L4Entry> base;     // of any peer
    std::array<std::vector<L4Entry>, 2> of_name;
  };

  static Compiled compile(const std::vector<Rule>& rules, bool isolated) {
    const Decision above(those(rules, [](const Rule&) { return true; }),
                         isolated);
    const Decision below(
        those(rules, [](const Rule& rule) { return rule.any_peer; }), isolated);
    const Decided fallback = {.kind = isolated ? Decided::Kind::kDeny
                                               : Decided::Kind::kAllow};
    Compiled compiled{
        .isolated = isolated,
        .entries = compile_l4(above, below, fallback),
        .base = compile_l4(below, Decision({}, isolated), fallback),
        .of_name = {}};
    for (int name = 0; name < 2; ++name) {
      compiled.of_name[name] = compile_l4(
          Decision::of_name(those(
              rules, [&](const Rule& rule) { return rule.name == name; })),
          Decision({}, true), fallback);
    }
    return compiled;
  }

  // What the datapath finds if the address has the names whose bit is set.
  bool ask_entries(const Compiled& compiled, int names, std::uint8_t protocol,
                   std::uint16_t port) {
    const auto* entry = lookup(compiled.entries, protocol, port);
    if (entry == nullptr) {
      entry = lookup(compiled.base, protocol, port);
    }
    if (entry == nullptr) {
      return !compiled.isolated;
    }
    if (entry->value.verdict == SLUICE_VERDICT_ALLOW) {
      return true;
    }
    for (int name = 0; name < 2; ++name) {
      const auto* allowing = lookup(compiled.of_name[name], protocol, port);
      if ((names >> name & 1) != 0 && allowing != nullptr &&
          (allowing->value.flags & entry->value.flags) != 0) {
        ++allowed_by_name_;
        return true;
      }
    }
    return false;
  }
  [[nodiscard]] int allowed_by_name() const { return allowed_by_name_; }

 private:
  std::mt19937 random_{11};
  int allowed_by_name_ = 0;
};

TEST_F(Names, DecideOnlyWhereNoRuleBeforeThemDoes) {
  for (int round = 0; round < 600; ++round) {
    const auto rules = random_rules();
    const auto compiled = compile(rules, number(0, 3) != 0);
    for (const std::uint8_t protocol : {kTcp, kUdp, std::uint8_t{47}}) {
      for (int port = 0; port < 520; port += number(1, 3)) {
        for (int names = 0; names < 4; ++names) {
          ASSERT_EQ(ask_entries(compiled, names, protocol,
                                static_cast<std::uint16_t>(port)),
                    ask_rules(rules, names, compiled.isolated, protocol, port))
              << "round " << round << " protocol " << int{protocol} << " port "
              << port << " names " << names;
        }
      }
    }
  }
  EXPECT_GT(allowed_by_name(), 10'000);
}

TEST_F(Names, LevelsEndWhereARuleBetweenThemDenies) {
  std::vector<Candidate> rules;
  for (std::uint32_t i = 0; i < 2 * kNameLevelsMax; ++i) {
    auto rule = i % 2 == 0 ? any(Action::kAllow, i) : any(Action::kDeny, i);
    rule.tier = Tier::kAdmin;
    rule.name_level = i % 2 == 0 ? 1 : 0;
    rules.push_back(rule);
  }
  std::vector<Candidate*> pointers;
  pointers.reserve(rules.size() + 1);
  for (auto& rule : rules) {
    pointers.push_back(&rule);
  }
  EXPECT_TRUE(set_name_levels(pointers));
  EXPECT_EQ(rules[0].name_level, 1);
  EXPECT_EQ(rules[2].name_level, 2);
  EXPECT_EQ(rules[(2 * kNameLevelsMax) - 2].name_level, 128);

  auto more = any(Action::kAllow, 100);
  more.tier = Tier::kAdmin;
  more.name_level = 1;
  pointers.push_back(&more);
  EXPECT_FALSE(set_name_levels(pointers));
  EXPECT_EQ(more.name_level, 0);
}

TEST_F(Names, ADeniedPortWithoutARuleForNamesNeedsNoLookup) {
  auto name = allow(443, 443, 20);
  name.name_level = 1;
  const std::vector<Candidate> rules = {name};
  const auto entries =
      compile_l4(decision(rules, true), decision({}, true), kDefaultDeny);
  ASSERT_EQ(entries.size(), 1U);
  EXPECT_EQ(entries[0].port, 443);
  EXPECT_EQ(entries[0].value.verdict, SLUICE_VERDICT_DENY);
  EXPECT_EQ(entries[0].value.rule, kDefaultDeny.rule);
  EXPECT_EQ(entries[0].value.flags, 1);
}

}  // namespace
}  // namespace sluice::policy
