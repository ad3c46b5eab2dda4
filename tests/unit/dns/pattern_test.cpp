// SPDX-License-Identifier: Apache-2.0
#include "lib/dns/pattern.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::dns {
namespace {

using testing::HasSubstr;

using Parse = Result<NamePattern> (*)(std::string_view text);
constexpr Parse kName = NamePattern::match_name;
constexpr Parse kPattern = NamePattern::match_pattern;
constexpr Parse kDomain = NamePattern::domain_name;

std::string text_of(Parse parse, std::string_view text) {
  const auto pattern = parse(text);
  return pattern ? pattern->text() : "error: " + pattern.error().message;
}

struct Row {
  Parse parse;
  const char* pattern;
  std::vector<const char*> matches;
  std::vector<const char*> others;
};

TEST(DnsPattern, EachFormMatchesItsNamesAndNoOthers) {
  const std::vector<Row> rows{
      {kName,
       "api.example.com",
       {"api.example.com", "API.example.COM."},
       {"x.api.example.com", "example.com", "api.example.org", "."}},
      {kPattern, "api.example.com", {"api.example.com"}, {"x.api.example.com"}},
      {kPattern,
       "*",
       {".", "com", "a.b.example.com", "a\\032b.example.com"},
       {}},
      {kPattern, "**", {".", "com", "a.b.example.com"}, {}},
      {kPattern, "**.", {".", "com", "a.b.example.com"}, {}},
      {kPattern, "*.", {".", "com", "a.b.example.com"}, {}},
      {kPattern,
       "*.example.com",
       {"a.example.com", "a-b_c.example.com", "A.example.com"},
       {"example.com", "a.b.example.com", "a\\.b.example.com",
        "a\\032.example.com", "a.example.org"}},
      {kPattern,
       "**.example.com",
       {"a.example.com", "a.b.example.com"},
       {"example.com", "a.example.org", "a\\032.example.com",
        "x.a\\032.example.com", "myexample.com"}},
      {kPattern, "****.example.com", {"a.b.example.com"}, {"example.com"}},
      {kPattern,
       "*example.com",
       {"example.com", "myexample.com"},
       {"a.example.com", "example.org"}},
      {kPattern,
       "**example.com",
       {"example.com", "myexample.com"},
       {"a.example.com"}},
      {kPattern,
       "a*.ex*.com",
       {"ab.example.com", "a.ex.com"},
       {"b.example.com", "a.b.ex.com", "a.com"}},
      {kPattern,
       "*.*.example.com",
       {"a.b.example.com"},
       {"a.example.com", "a.b.c.example.com"}},
      {kPattern,
       "*.**.example.com",
       {"a.b.example.com"},
       {"a.b.c.example.com", "a.example.com"}},
      {kPattern, "**.*.io", {"a.b.io", "a.b.c.io"}, {"a.io", "io"}},
      {kPattern, "a*b*c", {"abc", "aXbYc", "abbcc"}, {"ab", "acb", "a.b.c"}},
      {kPattern, "*._tcp.*", {"x._tcp.y"}, {"_tcp.y", "x._tcp"}},
      {kDomain,
       "kubernetes.io",
       {"kubernetes.io"},
       {"www.kubernetes.io", "my-kubernetes.io", "wikipedia.org"}},
      {kDomain,
       "*.kubernetes.io.",
       {"www.kubernetes.io", "latest.blog.kubernetes.io"},
       {"kubernetes.io", "wikipedia.org"}}};
  for (const Row& row : rows) {
    const auto pattern = row.parse(row.pattern);
    ASSERT_TRUE(pattern) << row.pattern << ": " << pattern.error().message;
    for (const char* name : row.matches) {
      EXPECT_TRUE(pattern->matches(Name::from_text(name).value()))
          << row.pattern << " and " << name;
    }
    for (const char* name : row.others) {
      EXPECT_FALSE(pattern->matches(Name::from_text(name).value()))
          << row.pattern << " and " << name;
    }
  }
}

TEST(DnsPattern, EveryMeaningHasOneText) {
  EXPECT_EQ(text_of(kName, "API.Example.com."), "api.example.com");
  EXPECT_EQ(text_of(kPattern, "API.Example.com."), "api.example.com");
  EXPECT_EQ(text_of(kPattern, "***"), "*");
  EXPECT_EQ(text_of(kPattern, "**."), "*");
  EXPECT_EQ(text_of(kPattern, "***.A.com"), "**.a.com");
  EXPECT_EQ(text_of(kPattern, "**a.**.com."), "*a.*.com");
  EXPECT_EQ(text_of(kPattern, "**.**.com"), "**.*.com");
  EXPECT_EQ(text_of(kDomain, "*.A.com"), "**.a.com");
}

TEST(DnsPattern, AnErrorSaysWhatIsWrong) {
  for (const Parse parse : {kName, kPattern, kDomain}) {
    EXPECT_THAT(text_of(parse, ""), HasSubstr("is empty"));
    for (const char* text :
         {"a b.com", "a/b.com", "\xc3\xa9.com", "a.com,b.com", " a.com",
          "a.com\n", "a\\.b.com", "[a].com"}) {
      EXPECT_THAT(text_of(parse, text), HasSubstr("may only have")) << text;
    }
    for (const char* text : {".", "..", ".a.com", "a..com", "a.com.."}) {
      EXPECT_THAT(text_of(parse, text), HasSubstr("empty label")) << text;
    }
    EXPECT_THAT(text_of(parse, std::string(64, 'a') + ".com"),
                HasSubstr("64 bytes"));
    EXPECT_THAT(text_of(parse, std::string(256, 'a')), HasSubstr("256 bytes"));
  }
  EXPECT_THAT(text_of(kName, "*.example.com"), HasSubstr("may only have"));
  EXPECT_THAT(text_of(kDomain, "**.example.com"), HasSubstr("first label"));
  EXPECT_THAT(text_of(kDomain, "a.*.com"), HasSubstr("first label"));
  EXPECT_THAT(text_of(kDomain, "a*.b.com"), HasSubstr("first label"));
  EXPECT_THAT(text_of(kDomain, "*"), HasSubstr("first label"));
  EXPECT_THAT(text_of(kDomain, "com"), HasSubstr("two labels"));
  EXPECT_THAT(text_of(kDomain, "*.com"), HasSubstr("two labels"));
  EXPECT_THAT(text_of(kDomain, "_x.a.com"), HasSubstr("begin and end"));
  EXPECT_THAT(text_of(kDomain, "a.com-"), HasSubstr("begin and end"));
}

TEST(DnsPattern, TheLongestTextHas255BytesAndTheLongestNameToo) {
  const std::string label(63, 'a');
  const std::string three = label + "." + label + "." + label + ".";
  EXPECT_EQ(text_of(kName, three + std::string(61, 'a')).size(), 253U);
  EXPECT_THAT(text_of(kName, three + std::string(62, 'a')),
              HasSubstr("too long"));
  EXPECT_EQ(text_of(kPattern, three + std::string(63, '*')), three + "*");
  EXPECT_THAT(text_of(kPattern, three + std::string(64, '*')),
              HasSubstr("256 bytes"));
}

}  // namespace
}  // namespace sluice::dns
