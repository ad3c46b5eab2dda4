// SPDX-License-Identifier: Apache-2.0
#include "lib/dns/matcher.h"

#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::dns {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

NamePattern pattern(std::string_view text) {
  return NamePattern::match_pattern(text).value();
}

Name name(std::string_view text) {
  return Name::from_text(text).value();
}

// ---- the slow one ----------------------------------------------------------

// Compares character by character, as a regular expression would, with texts
// that end with a dot. It knows neither labels nor the canonical form.
bool rest_matches(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) {
    return name.empty();
  }
  if (pattern.front() == '*') {
    return rest_matches(pattern.substr(1), name) ||
           (!name.empty() && name.front() != '.' && is_plain(name.front()) &&
            rest_matches(pattern, name.substr(1)));
  }
  return !name.empty() && pattern.front() == name.front() &&
         rest_matches(pattern.substr(1), name.substr(1));
}

bool subdomains_match(std::string_view pattern, std::string_view name) {
  const std::size_t dot = name.find('.');
  if (dot == std::string_view::npos || dot == 0) {
    return false;
  }
  for (const char c : name.substr(0, dot)) {
    if (!is_plain(c)) {
      return false;
    }
  }
  const std::string_view rest = name.substr(dot + 1);
  return rest_matches(pattern, rest) || subdomains_match(pattern, rest);
}

bool slowly_matches(std::string_view pattern, std::string_view name) {
  std::string lower(pattern);
  for (char& c : lower) {
    c = to_lower(c);
  }
  if (!lower.ends_with('.')) {
    lower += '.';
  }
  if (lower.find_first_not_of('*') == lower.size() - 1) {
    return true;
  }
  const std::size_t stars = lower.find_first_not_of('*');
  const std::string with_dot =
      std::string(name) + (name.ends_with('.') ? "" : ".");
  if (stars >= 2 && lower[stars] == '.') {
    return subdomains_match(std::string_view(lower).substr(stars + 1),
                            with_dot);
  }
  return rest_matches(lower, with_dot);
}

// ---- random patterns and names ---------------------------------------------

// Few characters and labels, so that many pairs match or nearly do.
class Maker {
 public:
  explicit Maker(unsigned seed) : random_(seed) {}

  std::size_t below(std::size_t limit) { return random_() % limit; }

  std::string label(bool stars) {
    static constexpr std::string_view kLetters = "aab-_B1";
    std::string result;
    for (std::size_t left = 1 + below(5); left > 0; --left) {
      result += stars && below(3) == 0 ? '*' : kLetters[below(7)];
    }
    return below(6) == 0 ? "example" : result;
  }

  std::string pattern() {
    std::string result;
    for (std::size_t left = 1 + below(4); left > 0; --left) {
      const std::size_t kind = below(6);
      result += result.empty() ? "" : ".";
      if (kind < 2) {
        result += kind == 0 ? "*" : "**";
      } else {
        result += label(kind < 4);
      }
    }
    return result + (below(8) == 0 ? "." : "");
  }

  std::string name() {
    if (below(50) == 0) {
      return ".";
    }
    std::string result;
    for (std::size_t left = 1 + below(5); left > 0; --left) {
      result += result.empty() ? "" : ".";
      result += label(false);
      if (below(40) == 0) {
        result += "\\032";
      }
    }
    return result;
  }

 private:
  std::mt19937 random_;
};

TEST(DnsMatcher, AgreesWithASlowOneOverManyPairs) {
  Maker maker(20261129);
  std::size_t pairs = 0;
  std::size_t matching = 0;
  for (int round = 0; round < 100; ++round) {
    Matcher matcher;
    std::map<PatternId, std::string> texts;
    for (PatternId id = 0; id < 60; ++id) {
      texts[id] = maker.pattern();
      matcher.add(id, pattern(texts[id]));
    }
    // Some go again, and some of these come back as others.
    for (int i = 0; i < 20; ++i) {
      const auto id = static_cast<PatternId>(maker.below(60));
      matcher.remove(id);
      texts.erase(id);
      if (maker.below(2) == 0) {
        texts[id] = maker.pattern();
        matcher.add(id, pattern(texts[id]));
      }
    }
    ASSERT_EQ(matcher.size(), texts.size());
    for (int i = 0; i < 40; ++i) {
      const Name queried = name(maker.name());
      std::vector<PatternId> expected;
      for (const auto& [id, text] : texts) {
        const bool matches = slowly_matches(text, queried.text());
        ASSERT_EQ(pattern(text).matches(queried), matches)
            << text << " and " << queried.text();
        if (matches) {
          expected.push_back(id);
        }
      }
      ASSERT_EQ(matcher.match(queried), expected) << queried.text();
      pairs += texts.size();
      matching += expected.size();
    }
  }
  EXPECT_GE(pairs, 100000U);
  EXPECT_GE(matching, pairs / 50);
}

TEST(DnsMatcher, GivesTheIdsOfAllPatternsInOrder) {
  Matcher matcher;
  matcher.add(9, pattern("api.example.com"));
  matcher.add(3, pattern("*.example.com"));
  matcher.add(7, pattern("**.com"));
  matcher.add(1, pattern("a*.ex*.com"));
  matcher.add(5, pattern("*"));
  matcher.add(4, pattern("API.example.com."));
  matcher.add(2, pattern("*i.example.com"));
  matcher.add(6, pattern("*p*.example.com"));
  matcher.add(8, pattern("b*.example.com"));
  EXPECT_THAT(matcher.match(name("Api.Example.com")),
              ElementsAre(1, 2, 3, 4, 5, 6, 7, 9));
  EXPECT_THAT(matcher.match(name(".")), ElementsAre(5));
  EXPECT_THAT(matcher.match(name("com")), ElementsAre(5));
}

TEST(DnsMatcher, AnIdHasOnePattern) {
  Matcher matcher;
  matcher.add(1, pattern("a.com"));
  matcher.add(1, pattern("**.b.com"));
  EXPECT_EQ(matcher.size(), 1U);
  EXPECT_THAT(matcher.match(name("a.com")), IsEmpty());
  EXPECT_THAT(matcher.match(name("x.b.com")), ElementsAre(1));
  matcher.remove(1);
  matcher.remove(1);
  matcher.remove(2);
  EXPECT_EQ(matcher.size(), 0U);
  EXPECT_THAT(matcher.match(name("x.b.com")), IsEmpty());
}

TEST(DnsMatcher, TheLongestNamesAndPatternsMatch) {
  std::string text = "a";
  for (std::size_t i = 1; i < kMaxLabels; ++i) {
    text += ".a";
  }
  std::string stars = text;
  std::ranges::replace(stars, 'a', '*');
  Matcher matcher;
  matcher.add(1, pattern(text));
  matcher.add(2, pattern(stars));
  matcher.add(3, pattern("**.a.a"));
  EXPECT_THAT(matcher.match(name(text)), ElementsAre(1, 2, 3));
}

TEST(DnsMatcher, ManyThreadsMayMatchAtTheSameTime) {
  Matcher matcher;
  Maker maker(5);
  for (PatternId id = 0; id < 1000; ++id) {
    matcher.add(id, pattern(maker.pattern()));
  }
  const Name queried = name("a.b.example");
  const auto expected = matcher.match(queried);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  threads.reserve(wrong.size());
  for (int& count : wrong) {
    threads.emplace_back([&matcher, &queried, &expected, &count] {
      std::vector<PatternId> out;
      for (int i = 0; i < 2000; ++i) {
        matcher.match(queried, out);
        count += out == expected ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_THAT(wrong, testing::Each(0));
}

}  // namespace
}  // namespace sluice::dns
