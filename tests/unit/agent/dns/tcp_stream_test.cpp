// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/tcp_stream.h"

#include <algorithm>
#include <random>
#include <span>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

namespace sluice::agent {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

DnsFlow flow(std::uint16_t port) {
  return {.source = *parse_ip("10.96.0.10"),
          .destination = *parse_ip("10.0.0.1"),
          .source_port = 53,
          .destination_port = port,
          .protocol = IPPROTO_TCP};
}

std::string with_length(const std::string& message) {
  std::string result;
  result += static_cast<char>(message.size() >> 8U);
  result += static_cast<char>(message.size());
  return result + message;
}

class Streams : public testing::Test {
 protected:
  std::vector<std::string> add(std::uint32_t sequence, const std::string& data,
                               std::uint16_t port = 1, bool end = false) {
    std::vector<std::string> result;
    for (const auto& message :
         streams.add({.flow = flow(port),
                      .payload = std::as_bytes(std::span(data)),
                      .sequence = sequence,
                      .end = end})) {
      result.emplace_back(reinterpret_cast<const char*>(message.data()),
                          message.size());
    }
    return result;
  }

  TcpStreams streams{2};
};

TEST_F(Streams, MessagesAreWholeHoweverTheyAreCut) {
  const std::string all = with_length("hello") + with_length("") +
                          with_length(std::string(65535, 'x')) +
                          with_length("end");
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    // Just before sequence numbers begin at 0 again.
    const std::uint32_t start = 0xffffff00U;
    streams.begin(flow(1), start);
    std::vector<std::string> got;
    for (std::size_t at = 0; at < all.size();) {
      const std::size_t size = 1 + (random() % (round < 10 ? 40 : 4000));
      for (auto& message :
           add(start + static_cast<std::uint32_t>(at), all.substr(at, size))) {
        got.push_back(std::move(message));
      }
      at += size;
    }
    EXPECT_THAT(got, ElementsAre("hello", "", std::string(65535, 'x'), "end"));
  }
}

TEST_F(Streams, SegmentsMayComeInAnyOrderAndAgain) {
  const std::string all = with_length("hello") + with_length("world");
  std::mt19937 random(2);
  for (int round = 0; round < 500; ++round) {
    const std::uint32_t start = 0U - (random() % 10);
    streams.begin(flow(1), start);
    std::vector<std::pair<std::size_t, std::size_t>> parts;
    parts.reserve(all.size());
    for (std::size_t at = 0; at < all.size(); ++at) {
      parts.emplace_back(at, 1 + (random() % 4));  // they overlap
    }
    std::ranges::shuffle(parts, random);
    parts.insert(parts.end(), parts.begin(), parts.begin() + 3);
    std::vector<std::string> got;
    for (const auto& [at, size] : parts) {
      for (auto& message :
           add(start + static_cast<std::uint32_t>(at), all.substr(at, size))) {
        got.push_back(std::move(message));
      }
    }
    ASSERT_THAT(got, ElementsAre("hello", "world"));
  }
}

TEST_F(Streams, AFlowWhoseBeginningIsUnknownGivesNothing) {
  EXPECT_THAT(add(1000, with_length("hello")), IsEmpty());
  EXPECT_EQ(streams.flows(), 0U);
  streams.add({.flow = flow(1), .payload = {}, .sequence = 999, .syn = true});
  EXPECT_THAT(add(1000, with_length("hello")), ElementsAre("hello"));
}

TEST_F(Streams, AFlowThatHasEndedIsForgotten) {
  streams.begin(flow(1), 0);
  const std::string bytes = with_length("hello");
  EXPECT_THAT(add(4, bytes.substr(4), 1, true), IsEmpty());
  EXPECT_EQ(streams.flows(), 1U) << "a part is missing";
  EXPECT_THAT(add(0, bytes.substr(0, 4)), ElementsAre("hello"));
  EXPECT_EQ(streams.flows(), 0U);
}

TEST_F(Streams, AFlowWithTooMuchGivesNothingUntilItBeginsAgain) {
  streams.begin(flow(1), 0);
  std::uint32_t at = 10;
  while (streams.flows() == 1 && at < 1000000) {
    EXPECT_THAT(add(at, std::string(1000, '\0')), IsEmpty());
    at += 1001;
  }
  EXPECT_EQ(streams.flows(), 0U);
  EXPECT_LT(at, 80000U);
  EXPECT_THAT(add(at, with_length("hello")), IsEmpty());
  streams.begin(flow(1), at);
  EXPECT_THAT(add(at, with_length("hello")), ElementsAre("hello"));
  EXPECT_THAT(add(at + 1000000, with_length("hello")), IsEmpty());
  EXPECT_EQ(streams.flows(), 0U);
}

TEST_F(Streams, TheFlowThatWasSilentLongestMakesRoom) {
  streams.begin(flow(1), 0);
  streams.begin(flow(2), 0);
  add(0, std::string(1, '\0'), 1);
  streams.begin(flow(3), 0);
  EXPECT_EQ(streams.flows(), 2U);
  const std::string bytes = with_length("hello");
  EXPECT_THAT(add(0, bytes, 2), IsEmpty());
  EXPECT_THAT(add(0, bytes, 1), ElementsAre("hello"));
  EXPECT_THAT(add(0, bytes, 3), ElementsAre("hello"));
}

}  // namespace
}  // namespace sluice::agent
