// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/table.h"

#include <algorithm>
#include <map>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/dns/message.h"

namespace sluice::agent {
namespace {

using dns::Name;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr std::array<std::uint64_t, 2> kSecret{1, 2};

Name name(const std::string& text) {
  return Name::from_text(text).value();
}

Transaction::NameChange add(std::uint32_t id, const std::string& pattern) {
  return {.id = id, .value = NameSelector{.id = id, .pattern = pattern}};
}

Transaction::NameChange remove(std::uint32_t id) {
  return {.id = id, .value = std::nullopt};
}

std::vector<std::uint32_t> selectors(const NameTable::Entry& entry) {
  std::vector<std::uint32_t> result;
  std::ranges::copy_if(entry.value.selector, std::back_inserter(result),
                       [](std::uint32_t id) { return id != 0; });
  return result;
}

std::vector<std::string> names(const NameTable::Change& change) {
  std::vector<std::string> result;
  std::ranges::transform(
      change.entries, std::back_inserter(result),
      [](const auto& entry) { return name_of(entry.value).value().text(); });
  return result;
}

bool same(const sluice_name_key& a, const sluice_name_key& b) {
  return std::ranges::equal(a.hash, b.hash);
}

TEST(NameTable, ANamesEntryHasItsKeyItsSelectorsAndItself) {
  NameTable table(kSecret, 10);
  EXPECT_THAT(table
                  .apply({add(30, "*.example.com"), add(20, "api.example.com"),
                          add(10, "*.org")})
                  .problems,
              IsEmpty());
  const auto met = table.meet(name("API.example.com"));
  EXPECT_FALSE(met.known);
  EXPECT_FALSE(met.forgotten);
  EXPECT_THAT(selectors(met.entry), ElementsAre(20, 30));
  EXPECT_TRUE(same(met.entry.key, hash_name(kSecret, name("api.example.com"))));
  EXPECT_EQ(name_of(met.entry.value).value(), name("api.example.com"));
  EXPECT_TRUE(table.meet(name("api.example.com")).known);
  EXPECT_THAT(selectors(table.entry(name("x.net"))), IsEmpty());
  EXPECT_EQ(*table.pattern(10), "*.org");
  EXPECT_EQ(table.pattern(11), nullptr);
}

TEST(NameTable, AChangeOfPatternsChangesNamesThatMatchAndNoOthers) {
  NameTable table(kSecret, 10);
  table.apply({add(1, "*.example.com")});
  for (const char* text : {"a.example.com", "b.example.com", "c.org"}) {
    table.meet(name(text));
  }
  EXPECT_THAT(names(table.apply({add(2, "b.example.com")})),
              ElementsAre("b.example.com"));
  EXPECT_THAT(table.apply({add(2, "b.example.com")}).entries, IsEmpty());
  // The selector's pattern changes: both names do.
  EXPECT_THAT(names(table.apply({add(2, "c.org")})),
              UnorderedElementsAre("b.example.com", "c.org"));
  const auto removed = table.apply({remove(1), remove(7)});
  EXPECT_THAT(names(removed),
              UnorderedElementsAre("a.example.com", "b.example.com"));
  EXPECT_THAT(selectors(removed.entries[0]), IsEmpty());
  EXPECT_EQ(table.pattern(1), nullptr);
}

TEST(NameTable, WhatHasNoRoomIsCounted) {
  NameTable table(kSecret, 10);
  table.meet(name("a.com"));
  std::vector<Transaction::NameChange> changes;
  for (std::uint32_t id = 12; id > 0; --id) {
    changes.push_back(add(id, "a.com"));
  }
  const auto change = table.apply(changes);
  ASSERT_EQ(change.entries.size(), 1U);
  EXPECT_THAT(selectors(change.entries[0]),
              ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_EQ(change.entries[0].left_out, 4U);
  EXPECT_EQ(table.match(name("a.com")).size(), 12U);
}

TEST(NameTable, ABadPatternIsAProblemAndTheOthersAreInForce) {
  NameTable table(kSecret, 10);
  const auto change = table.apply({add(1, "a..b"), add(2, "a.com")});
  EXPECT_THAT(change.problems, ElementsAre(HasSubstr("selector 1: a..b")));
  EXPECT_THAT(table.match(name("a.com")), ElementsAre(2));
}

TEST(NameTable, TheNameMetLongestAgoMakesRoom) {
  NameTable table(kSecret, 2);
  table.meet(name("a.com"));
  table.meet(name("b.com"));
  table.meet(name("a.com"));
  const auto met = table.meet(name("c.com"));
  ASSERT_TRUE(met.forgotten);
  EXPECT_TRUE(same(*met.forgotten, hash_name(kSecret, name("b.com"))));
  EXPECT_THAT(names(table.apply({add(1, "*.com")})),
              UnorderedElementsAre("a.com", "c.com"));
}

TEST(NameTable, ANameThatDoesNotEndIsAnError) {
  sluice_name value{};
  std::ranges::fill(value.wire, 63);
  EXPECT_FALSE(name_of(value));
  EXPECT_TRUE(name_of(sluice_name{}).value().is_root());
}

// What a change does not list is as it was: whoever applies the changes has
// what a new table has.
TEST(NameTable, ChangesAddUpToTheWhole) {
  std::mt19937 random(5);
  NameTable table(kSecret, 1000);
  std::map<std::uint32_t, std::string> wanted;
  std::map<std::string, std::vector<std::uint32_t>> kernel;
  const auto label = [&] { return std::string(1, "abcd"[random() % 4]); };
  for (int step = 0; step < 500; ++step) {
    const Name met = name(label() + "." + label() + ".com");
    kernel[met.text()] = selectors(table.meet(met).entry);
    std::vector<Transaction::NameChange> changes;
    for (unsigned n = random() % 3; n > 0; --n) {
      const std::uint32_t id = 1 + (random() % 8);
      if (random() % 3 == 0) {
        wanted.erase(id);
        changes.push_back(remove(id));
      } else {
        wanted[id] = (random() % 2 == 0 ? label() : "*") + "." + label() +
                     (random() % 2 == 0 ? "*" : "") + ".com";
        changes.push_back(add(id, wanted[id]));
      }
    }
    for (const auto& entry : table.apply(changes).entries) {
      kernel[name_of(entry.value).value().text()] = selectors(entry);
    }
  }
  NameTable fresh(kSecret, 1000);
  for (const auto& [id, pattern] : wanted) {
    fresh.apply({add(id, pattern)});
  }
  ASSERT_EQ(kernel.size(), 16U);
  for (const auto& [text, ids] : kernel) {
    EXPECT_EQ(ids, selectors(fresh.entry(name(text)))) << text;
  }
}

}  // namespace
}  // namespace sluice::agent
