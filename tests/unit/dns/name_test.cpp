// SPDX-License-Identifier: Apache-2.0
#include "lib/dns/name.h"

#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::dns {
namespace {

using testing::HasSubstr;

std::string wire_of(std::string_view text) {
  const auto name = Name::from_text(text);
  return name ? std::string(name->wire()) : "error: " + name.error().message;
}

std::string long_name(std::size_t labels, std::size_t last) {
  std::string text;
  for (std::size_t i = 0; i < labels; ++i) {
    text += std::string(kMaxLabelBytes, 'a') + '.';
  }
  return text + std::string(last, 'b');
}

TEST(DnsName, ATextBecomesLengthsAndLabelsInLowerCase) {
  using namespace std::string_literals;
  EXPECT_EQ(wire_of("api.example.com"), "\3api\7example\3com\0"s);
  EXPECT_EQ(wire_of("API.Example.COM."), "\3api\7example\3com\0"s);
  EXPECT_EQ(wire_of("."), "\0"s);
  EXPECT_EQ(wire_of("_x-1._TCP"), "\4_x-1\4_tcp\0"s);
  EXPECT_EQ(wire_of("a\\.b.\\092\\200"), "\3a.b\2\\\310\0"s);
  EXPECT_EQ(Name().wire(), "\0"s);
}

TEST(DnsName, AnErrorSaysWhatIsWrong) {
  EXPECT_THAT(wire_of(""), HasSubstr("is empty"));
  EXPECT_THAT(wire_of(".."), HasSubstr("empty label"));
  EXPECT_THAT(wire_of(".a"), HasSubstr("empty label"));
  EXPECT_THAT(wire_of("a..b"), HasSubstr("empty label"));
  EXPECT_THAT(wire_of("a.."), HasSubstr("empty label"));
  EXPECT_THAT(wire_of(std::string(64, 'a')), HasSubstr("64 bytes"));
  EXPECT_THAT(wire_of("a\\"), HasSubstr("escape"));
  EXPECT_THAT(wire_of("a\\12"), HasSubstr("escape"));
  EXPECT_THAT(wire_of("a\\256"), HasSubstr("escape"));
  EXPECT_THAT(wire_of(long_name(3, 62)), HasSubstr("too long"));
}

TEST(DnsName, TheLongestNameHas255Bytes) {
  EXPECT_EQ(wire_of(long_name(3, 61)).size(), kMaxNameBytes);
  std::string text = "a";
  for (std::size_t i = 1; i < kMaxLabels; ++i) {
    text += ".a";
  }
  const auto name = Name::from_text(text);
  ASSERT_TRUE(name) << name.error().message;
  EXPECT_EQ(name->wire().size(), kMaxNameBytes);
  EXPECT_EQ(name->labels().count, kMaxLabels);
  EXPECT_FALSE(Name::from_text(text + ".a"));
}

TEST(DnsName, TheWireFormMustBeWhole) {
  using namespace std::string_literals;
  const auto name = Name::from_wire("\3ApI\3cOm\0"s);
  ASSERT_TRUE(name) << name.error().message;
  EXPECT_EQ(name->text(), "api.com");
  EXPECT_FALSE(Name::from_wire(""));
  EXPECT_FALSE(Name::from_wire("\3api"));
  EXPECT_FALSE(Name::from_wire("\3ap"));
  EXPECT_FALSE(Name::from_wire("\3api\0x"s));
  EXPECT_FALSE(Name::from_wire("\0\0"s));
  EXPECT_FALSE(Name::from_wire("\3api\xc0\x0c"s));
  EXPECT_FALSE(Name::from_wire("\x40"s + std::string(64, 'a') + '\0'));
  std::string long_wire;
  while (long_wire.size() < kMaxNameBytes) {
    long_wire += "\1a";
  }
  EXPECT_FALSE(Name::from_wire(long_wire + '\0'));
}

TEST(DnsName, TextAndWireFormAreTheSameName) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string wire;
    for (unsigned label = random() % 6; label > 0; --label) {
      const std::size_t size = 1 + (random() % (round % 2 == 0 ? 4 : 40));
      wire += static_cast<char>(size);
      for (std::size_t i = 0; i < size; ++i) {
        wire += static_cast<char>(random());
      }
    }
    wire += '\0';
    const auto name = Name::from_wire(wire);
    ASSERT_TRUE(name) << name.error().message;
    const auto again = Name::from_text(name->text());
    ASSERT_TRUE(again) << name->text() << ": " << again.error().message;
    ASSERT_EQ(*again, *name) << name->text();
    const auto dotted =
        Name::from_text(name->is_root() ? name->text() : name->text() + ".");
    ASSERT_TRUE(dotted);
    ASSERT_EQ(*dotted, *name);
  }
}

}  // namespace
}  // namespace sluice::dns
