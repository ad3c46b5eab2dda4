// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/pieces.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::explain {
namespace {

using ::testing::ElementsAre;

// "10.0.0.0/8 10.0.0.0": a piece and its sample.
std::vector<std::string> pieces(const std::string& prefix,
                                const std::vector<std::string>& known) {
  std::vector<IpPrefix> prefixes;
  prefixes.reserve(known.size());
  for (const auto& text : known) {
    prefixes.push_back(parse_prefix(text).value());
  }
  std::vector<std::string> result;
  for (const auto& piece : pieces_of(parse_prefix(prefix).value(), prefixes)) {
    result.push_back(to_string(piece.prefix) + " " + to_string(piece.sample));
  }
  return result;
}

TEST(ExplainPieces, APrefixThatNothingDividesIsOne) {
  EXPECT_THAT(pieces("10.0.0.0/8", {}), ElementsAre("10.0.0.0/8 10.0.0.0"));
  EXPECT_THAT(pieces("10.0.0.0/8", {"0.0.0.0/0", "11.0.0.0/8", "a00::/16"}),
              ElementsAre("10.0.0.0/8 10.0.0.0"));
  EXPECT_THAT(pieces("10.0.0.0/8", {"10.0.0.0/8"}),
              ElementsAre("10.0.0.0/8 10.0.0.0"));
}

TEST(ExplainPieces, ASampleIsInNoLongerPrefix) {
  EXPECT_THAT(
      pieces("10.0.0.0/8", {"10.0.1.0/24", "10.0.0.0/24", "10.0.0.0/32"}),
      ElementsAre("10.0.0.0/8 10.0.2.0", "10.0.0.0/24 10.0.0.1",
                  "10.0.0.0/32 10.0.0.0", "10.0.1.0/24 10.0.1.0"));
  EXPECT_THAT(pieces("fd00::/126", {"fd00::/127", "fd00::2/128"}),
              ElementsAre("fd00::/126 fd00::3",
                          "fd00::/127 fd00::", "fd00::2/128 fd00::2"));
}

TEST(ExplainPieces, OneThatIsCoveredAltogetherIsNone) {
  EXPECT_THAT(pieces("10.0.0.0/31", {"10.0.0.0/32", "10.0.0.1/32"}),
              ElementsAre("10.0.0.0/32 10.0.0.0", "10.0.0.1/32 10.0.0.1"));
  EXPECT_THAT(pieces("0.0.0.0/0", {"0.0.0.0/1", "128.0.0.0/1"}),
              ElementsAre("0.0.0.0/1 0.0.0.0", "128.0.0.0/1 128.0.0.0"));
  EXPECT_THAT(pieces("255.255.255.254/31", {"255.255.255.255/32"}),
              ElementsAre("255.255.255.254/31 255.255.255.254",
                          "255.255.255.255/32 255.255.255.255"));
}

// Every address of a small prefix has exactly one piece by the longest match,
// and a piece is listed if and only if an address has it.
TEST(ExplainPieces, AreTheLongestMatchesOfAllAddresses) {
  std::minstd_rand random(1);
  const auto whole = parse_prefix("192.0.2.0/26").value();
  for (int turn = 0; turn < 500; ++turn) {
    std::vector<IpPrefix> known;
    for (std::size_t i = random() % 12; i > 0; --i) {
      auto address = whole.address;
      address.bytes[3] = static_cast<std::uint8_t>(random() % 64);
      known.push_back(
          make_prefix(address, 26 + static_cast<int>(random() % 7)));
    }
    const auto longest = [&](const IpAddress& address) {
      IpPrefix best = whole;
      for (const auto& prefix : known) {
        if (prefix.contains(address) && prefix.length > best.length) {
          best = prefix;
        }
      }
      return best;
    };
    std::vector<IpPrefix> expected;
    for (int i = 0; i < 64; ++i) {
      auto address = whole.address;
      address.bytes[3] = static_cast<std::uint8_t>(i);
      expected.push_back(longest(address));
    }
    std::ranges::sort(expected);
    const auto rest = std::ranges::unique(expected);
    expected.erase(rest.begin(), rest.end());
    std::vector<IpPrefix> seen;
    for (const auto& piece : pieces_of(whole, known)) {
      EXPECT_EQ(longest(piece.sample), piece.prefix) << "turn " << turn;
      seen.push_back(piece.prefix);
    }
    EXPECT_EQ(seen, expected) << "turn " << turn;
  }
}

}  // namespace
}  // namespace sluice::explain
