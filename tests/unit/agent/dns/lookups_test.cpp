// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/lookups.h"

#include <algorithm>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::agent {
namespace {

using dns::Name;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr std::array<std::uint64_t, 2> kSecret{1, 2};
constexpr std::uint32_t kPod = 7;

Name name(const std::string& text) {
  return Name::from_text(text).value();
}

IpAddress ip(const std::string& text) {
  return *parse_ip(text);
}

Answer answer(std::initializer_list<const char*> names,
              std::initializer_list<const char*> addresses, std::uint32_t ttl) {
  Answer result;
  for (const char* text : names) {
    result.names.push_back(name(text));
  }
  for (const char* text : addresses) {
    result.addresses.push_back(
        {.address = ip(text), .ttl = ttl, .names = result.names.size()});
  }
  return result;
}

// By a server that is not one of the cluster's.
void add(Lookups& lookups, std::uint32_t ifindex, const Answer& answer,
         std::uint32_t now) {
  lookups.add(ifindex, answer, Lookups::Source::kPolicy, now);
}

NameTable table(std::initializer_list<const char*> patterns) {
  NameTable result(kSecret, 10);
  std::uint32_t id = 0;
  for (const char* pattern : patterns) {
    ++id;
    result.apply({{.id = id, .value = NameSelector{id, pattern}}});
  }
  return result;
}

// {address: {selector: expiry}}
std::map<std::string, std::map<std::uint32_t, std::uint32_t>> readable(
    const std::vector<Lookups::Learned>& all) {
  std::map<std::string, std::map<std::uint32_t, std::uint32_t>> result;
  for (const auto& one : all) {
    auto& selectors = result[to_string(address_of(one.key))];
    for (const auto& slot : one.value.slot) {
      if (slot.selector != 0) {
        selectors[slot.selector] = slot.expires;
      }
    }
  }
  return result;
}

TEST(Lookups, EveryNameOfTheChainCounts) {
  Lookups lookups({.grace = 5});
  add(lookups, kPod,
      answer({"api.example.com.svc.local", "api.example.com", "e.net"},
             {"192.0.2.1", "2001:db8::1"}, 60),
      100);
  EXPECT_THAT(
      readable(lookups.learned(
          kPod, table({"api.example.com", "*.net", "a.org"}), 100)),
      ElementsAre(
          Pair("192.0.2.1", ElementsAre(Pair(1, 165), Pair(2, 165))),
          Pair("2001:db8::1", ElementsAre(Pair(1, 165), Pair(2, 165)))));
  EXPECT_THAT(lookups.learned(kPod + 1, table({"*"}), 100), IsEmpty());
}

TEST(Lookups, AnAddressOfTheChainsBeginningIsNotOneOfItsEnd) {
  Lookups lookups({});
  Answer mixed = answer({"a.com", "b.com"}, {"192.0.2.1"}, 10);
  mixed.addresses[0].names = 1;
  add(lookups, kPod, mixed, 0);
  EXPECT_THAT(lookups.learned(kPod, table({"b.com"}), 0), IsEmpty());
  EXPECT_EQ(lookups.learned(kPod, table({"a.com"}), 0).size(), 1U);
}

TEST(Lookups, TheLatestExpiryCountsAndNoneIsShorterThanTheLeast) {
  Lookups lookups({.ttl_min = 30, .grace = 5});
  add(lookups, kPod, answer({"a.com"}, {"192.0.2.1"}, 100), 0);
  add(lookups, kPod, answer({"a.com"}, {"192.0.2.1"}, 0), 10);
  add(lookups, kPod, answer({"b.com"}, {"192.0.2.1"}, 0), 10);
  EXPECT_THAT(
      readable(lookups.learned(kPod, table({"a.com", "b.com"}), 10)),
      ElementsAre(Pair("192.0.2.1", ElementsAre(Pair(1, 105), Pair(2, 45)))));
  EXPECT_THAT(readable(lookups.learned(kPod, table({"a.com", "b.com"}), 46)),
              ElementsAre(Pair("192.0.2.1", ElementsAre(Pair(1, 105)))));
  EXPECT_THAT(lookups.learned(kPod, table({"a.com", "b.com"}), 106), IsEmpty());
}

TEST(Lookups, SelectorsForResolversCountOnlyWhatTheySay) {
  constexpr std::uint32_t kAny = SLUICE_CIDR_NAME | 1;
  constexpr std::uint32_t kOfResolvers = kAny | SLUICE_CIDR_NAME_RESOLVERS;
  NameTable both(kSecret, 10);
  for (const std::uint32_t id : {kAny, kOfResolvers}) {
    both.apply({{.id = id, .value = NameSelector{id, "a.com"}}});
  }
  Lookups lookups({});
  add(lookups, kPod, answer({"a.com"}, {"192.0.2.1"}, 100), 0);
  EXPECT_THAT(readable(lookups.learned(kPod, both, 0)),
              ElementsAre(Pair("192.0.2.1", ElementsAre(Pair(kAny, 100U)))));
  EXPECT_THAT(lookups.rows(kPod, both).at(0).selectors, ElementsAre(kAny));
  // Nothing that a resolver has not said is revived either.
  const std::vector<std::uint32_t> fresh{kAny, kOfResolvers};
  EXPECT_THAT(readable(lookups.learned(kPod, both, 200, fresh, 500)),
              ElementsAre(Pair("192.0.2.1", ElementsAre(Pair(kAny, 500U)))));
  // Each has its own expiry.
  lookups.add(kPod, answer({"a.com"}, {"192.0.2.1"}, 50),
              Lookups::Source::kResolver, 10);
  EXPECT_THAT(
      readable(lookups.learned(kPod, both, 10)),
      ElementsAre(Pair("192.0.2.1", ElementsAre(Pair(kAny, 100U),
                                                Pair(kOfResolvers, 60U)))));
  EXPECT_THAT(lookups.rows(kPod, both).at(0).selectors,
              ElementsAre(kAny, kOfResolvers));
}

TEST(Lookups, WhatHasExpiredCountsForASelectorThatHasJustCome) {
  Lookups lookups({});
  add(lookups, kPod, answer({"a.com"}, {"192.0.2.1"}, 10), 0);
  add(lookups, kPod, answer({"a.com"}, {"192.0.2.2"}, 1000), 0);
  const std::vector<std::uint32_t> fresh{2};
  const auto star = table({"a.com", "*"});
  EXPECT_THAT(readable(lookups.learned(kPod, star, 500, fresh, 560)),
              ElementsAre(Pair("192.0.2.1", ElementsAre(Pair(2, 560))),
                          Pair("192.0.2.2",
                               ElementsAre(Pair(1, 1000), Pair(2, 1000)))));
}

TEST(Lookups, NoAnswerIsTrustedForLongerThanSevenDays) {
  Lookups lookups({.grace = 1});
  add(lookups, kPod, answer({"a.com"}, {"192.0.2.1"}, 0x7fffffffU), 1000);
  EXPECT_THAT(readable(lookups.learned(kPod, table({"a.com"}), 605801)),
              ElementsAre(Pair("192.0.2.1", ElementsAre(Pair(1, 605801)))));
  EXPECT_THAT(lookups.learned(kPod, table({"a.com"}), 605802), IsEmpty());
}

TEST(Lookups, TimesDoNotOverflow) {
  Lookups lookups({.grace = 0xffffffffU});
  add(lookups, kPod, answer({"a.com"}, {"192.0.2.1"}, 0x7fffffffU), 1000);
  EXPECT_THAT(
      readable(lookups.learned(kPod, table({"a.com"}), 1000)),
      ElementsAre(Pair("192.0.2.1", ElementsAre(Pair(1, 0xffffffffU)))));
}

TEST(Lookups, RowsTellNamesAddressesAndSelectors) {
  Lookups lookups({.grace = 1});
  add(lookups, kPod, answer({"a.com", "b.net"}, {"192.0.2.1"}, 10), 3);
  const auto rows = lookups.rows(kPod, table({"*.net", "b.net"}));
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0], (Lookups::Row{.ifindex = kPod,
                                   .name = name("a.com"),
                                   .address = ip("192.0.2.1"),
                                   .heard = 3,
                                   .expires = 14,
                                   .selectors = {}}));
  EXPECT_EQ(rows[1].name, name("b.net"));
  EXPECT_THAT(rows[1].selectors, ElementsAre(1, 2));
  EXPECT_THAT(lookups.names_of(kPod, ip("192.0.2.1"), 9),
              ElementsAre(name("b.net"), name("a.com")));
  EXPECT_THAT(lookups.endpoints(), ElementsAre(kPod));
  lookups.forget(kPod);
  lookups.forget(kPod);
  EXPECT_THAT(lookups.rows(kPod, table({})), IsEmpty());
  EXPECT_EQ(lookups.size(), 0U);
}

std::string numbered(unsigned number) {
  return "n" + std::to_string(number) + ".com";
}

TEST(Lookups, AnEndpointsOldestElementMakesRoom) {
  Lookups lookups({.per_endpoint = 3});
  for (unsigned i = 0; i < 4; ++i) {
    add(lookups, kPod, answer({numbered(i).c_str()}, {"192.0.2.1"}, 10), i);
    add(lookups, kPod, answer({"n0.com"}, {"192.0.2.1"}, 10), i);
  }
  EXPECT_EQ(lookups.size(), 3U);
  EXPECT_THAT(lookups.names_of(kPod, ip("192.0.2.1"), 9),
              ElementsAre(name("n0.com"), name("n3.com"), name("n2.com")));
  EXPECT_THAT(lookups.names_of(kPod, ip("192.0.2.1"), 1),
              ElementsAre(name("n0.com")));
  EXPECT_THAT(lookups.names_of(kPod, ip("192.0.2.2"), 9), IsEmpty());
  EXPECT_EQ(lookups.pushed_out(), 1U);
  add(lookups, kPod, answer({"n9.com"}, {"192.0.2.1"}, 10), 100);
  EXPECT_EQ(lookups.pushed_out(), 1U) << "what had expired is no loss";
}

TEST(Lookups, AddressesBeyondTheMaximumAreThoseThatAPatternMatchesAndAreOpen) {
  Lookups lookups({});
  const auto names = table({"*.b.com"});
  add(lookups, kPod, answer({"x.b.com", "y.b.com"}, {"192.0.2.1"}, 10), 0);
  add(lookups, kPod, answer({"x.b.com"}, {"192.0.2.2", "192.0.2.3"}, 30), 0);
  add(lookups, kPod, answer({"c.com"}, {"192.0.2.4", "192.0.2.5"}, 30), 0);
  EXPECT_EQ(lookups.beyond(kPod, 2, names, 0), 1U);
  EXPECT_EQ(lookups.beyond(kPod, 1, names, 0), 2U);
  EXPECT_EQ(lookups.beyond(kPod, 1, names, 11), 1U) << "one has expired";
  EXPECT_EQ(lookups.beyond(kPod, 3, names, 0), 0U);
  EXPECT_EQ(lookups.beyond(kPod, 100, names, 0), 0U);
  EXPECT_EQ(lookups.beyond(kPod + 1, 0, names, 0), 0U);
}

TEST(Lookups, AnEndpointThatFloodsHarmsItselfAlone) {
  Lookups lookups({.per_endpoint = 1000, .total = 100});
  add(lookups, kPod, answer({"a.com"}, {"192.0.2.1"}, 10), 0);
  for (unsigned i = 0; i < 500; ++i) {
    add(lookups, kPod + 1, answer({numbered(i).c_str()}, {"192.0.2.1"}, 10), 0);
  }
  EXPECT_EQ(lookups.size(), 100U);
  EXPECT_EQ(lookups.rows(kPod, table({})).size(), 1U);
}

TEST(Lookups, SelectorsForWhichAnAddressHasNoRoomAreLeftOut) {
  Lookups lookups({});
  NameTable many(kSecret, 10);
  for (std::uint32_t id = 1; id <= 12; ++id) {
    many.apply({{.id = id, .value = NameSelector{id, "a.com"}}});
  }
  add(lookups, kPod, answer({"a.com"}, {"192.0.2.1"}, 10), 0);
  EXPECT_EQ(readable(lookups.learned(kPod, many, 0))["192.0.2.1"].size(),
            std::size_t{SLUICE_NAME_SELECTORS});
}

TEST(LearnedKey, IsOneOfBothFamilies) {
  const auto key = learned_key(ip("192.0.2.1"));
  EXPECT_EQ(key.address[10], 0xff);
  EXPECT_EQ(key.address[12], 192);
  EXPECT_EQ(address_of(key), ip("192.0.2.1"));
  EXPECT_EQ(address_of(learned_key(ip("2001:db8::1"))), ip("2001:db8::1"));
}

}  // namespace
}  // namespace sluice::agent
