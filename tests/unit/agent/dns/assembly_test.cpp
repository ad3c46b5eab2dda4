// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/assembly.h"

#include <algorithm>
#include <array>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "tests/unit/agent/dns/frames.h"

namespace sluice::agent {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::string numbered(std::size_t size) {
  std::string result;
  while (result.size() < size) {
    result += std::to_string(result.size()) + " ";
  }
  result.resize(size);
  return result;
}

Bytes bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}

class AssemblyTest : public testing::Test {
 protected:
  std::vector<std::string> add(const Bytes& frame, bool begins = false,
                               std::uint32_t now = 0) {
    std::vector<std::string> result;
    for (const auto& message : assembly.add(as_bytes(frame), begins, now)) {
      EXPECT_EQ(message.flow.source_port, 53);
      EXPECT_EQ(message.flow.destination_port, 4660);
      result.push_back(text(message.bytes));
    }
    return result;
  }

  Assembly assembly;
};

TEST_F(AssemblyTest, FragmentsInAnyOrderMakeADatagram) {
  const std::string all = numbered(3000);
  for (const auto& frame : {ipv4(IPPROTO_UDP, udp(bytes_of(all))),
                            ipv6(IPPROTO_UDP, udp(bytes_of(all)))}) {
    const std::array parts{fragment(frame, 0, 1400),
                           fragment(frame, 1400, 1400),
                           fragment(frame, 2800, 208)};
    std::array order{0U, 1U, 2U};
    do {
      EXPECT_THAT(add(parts.at(order[0])), IsEmpty());
      EXPECT_THAT(add(parts.at(order[0])), IsEmpty());  // once more
      EXPECT_THAT(add(parts.at(order[1])), IsEmpty());
      EXPECT_THAT(add(parts.at(order[2])), ElementsAre(all));
    } while (std::ranges::next_permutation(order).found);
  }
}

TEST_F(AssemblyTest, FragmentsThatOverlapOrContradictGiveNothing) {
  const Bytes frame = ipv4(IPPROTO_UDP, udp(bytes_of(numbered(3000))));
  add(fragment(frame, 0, 1400));
  add(fragment(frame, 1392, 1400));
  EXPECT_THAT(add(fragment(frame, 1400, 1608)), IsEmpty());

  const Bytes other = ipv4(IPPROTO_UDP, udp(bytes_of(numbered(2000))));
  add(fragment(frame, 2800, 208, 8));
  add(fragment(other, 1400, 608, 8));
  EXPECT_THAT(add(fragment(frame, 0, 1400, 8)), IsEmpty());
}

TEST_F(AssemblyTest, DatagramsAreApartByTheirIdAndForgottenInTime) {
  const Bytes frame = ipv4(IPPROTO_UDP, udp(bytes_of(numbered(2000))));
  add(fragment(frame, 0, 1400, 1));
  EXPECT_THAT(add(fragment(frame, 1400, 608, 2)), IsEmpty());
  EXPECT_THAT(add(fragment(frame, 1400, 608, 1), false, 31), IsEmpty());
  EXPECT_EQ(add(fragment(frame, 0, 1400, 1), false, 32).size(), 1U);
}

TEST_F(AssemblyTest, TheDatagramBegunFirstMakesRoom) {
  const Bytes frame = ipv4(IPPROTO_UDP, udp(bytes_of(numbered(2000))));
  for (unsigned id = 1; id <= 5; ++id) {
    add(fragment(frame, 0, 1400, id));
  }
  EXPECT_EQ(add(fragment(frame, 1400, 608, 2)).size(), 1U);
  EXPECT_THAT(add(fragment(frame, 1400, 608, 1)), IsEmpty());
}

TEST_F(AssemblyTest, SegmentsMakeMessagesFromABeginningOn) {
  const std::string all = numbered(3000);
  Bytes stream{3000 >> 8U, 3000 & 0xffU};
  sluice::agent::add(stream, bytes_of(all));
  const auto segment = [&](std::size_t at, std::size_t size) {
    const Bytes part(stream.begin() + static_cast<std::ptrdiff_t>(at),
                     stream.begin() + static_cast<std::ptrdiff_t>(at + size));
    return ipv4(IPPROTO_TCP,
                tcp(part, 0x18, 0, 100 + static_cast<std::uint32_t>(at)));
  };
  EXPECT_THAT(add(segment(1000, 2002)), IsEmpty());  // of an unknown stream
  EXPECT_THAT(add(segment(0, 1), true), IsEmpty());
  EXPECT_THAT(add(segment(1, 999)), IsEmpty());
  EXPECT_THAT(add(segment(1000, 2002)), ElementsAre(all));
}

TEST_F(AssemblyTest, DamageIsNothing) {
  std::mt19937 random(2);
  const Bytes whole = ipv6(IPPROTO_UDP, udp(bytes_of(numbered(2000))));
  for (int round = 0; round < 20000; ++round) {
    const bool second = round % 2 != 0;
    Bytes frame = fragment(whole, second ? 1400 : 0, second ? 608 : 1400);
    for (int i = 0; i < 3; ++i) {
      frame[random() % 70] = static_cast<std::uint8_t>(random());
    }
    frame.resize(random() % 4 == 0 ? random() % frame.size() : frame.size());
    assembly.add(as_bytes(frame), random() % 2 == 0, 0);
  }
}

}  // namespace
}  // namespace sluice::agent
