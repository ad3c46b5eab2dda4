// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/frame.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

namespace sluice::agent {
namespace {

using Bytes = std::vector<std::uint8_t>;
using testing::HasSubstr;

constexpr std::size_t kEthernet = 14;

void add(Bytes& bytes, std::initializer_list<unsigned> more) {
  for (const unsigned b : more) {
    bytes.push_back(static_cast<std::uint8_t>(b));
  }
}

void add(Bytes& bytes, const Bytes& more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

std::span<const std::byte> as_bytes(const Bytes& bytes) {
  return std::as_bytes(std::span(bytes));
}

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

const Bytes kMessage{'h', 'e', 'l', 'l', 'o'};

// Source port 53, destination port 4660.
Bytes udp(const Bytes& payload) {
  Bytes result{0, 53, 0x12, 0x34};
  const auto size = static_cast<unsigned>(payload.size()) + 8;
  add(result, {size >> 8U, size, 0, 0});
  add(result, payload);
  return result;
}

Bytes tcp(const Bytes& payload, unsigned flags, std::size_t options = 0) {
  Bytes result{0, 53, 0x12, 0x34, 0x80, 0, 0, 1, 0, 0, 0, 0};
  add(result, {static_cast<unsigned>(5 + (options / 4)) << 4U, flags, 0xff,
               0xff, 0, 0, 0, 0});
  result.resize(result.size() + options, 1);
  add(result, payload);
  return result;
}

Bytes ipv4(unsigned protocol, const Bytes& payload, std::size_t options = 0) {
  Bytes result(12, 2);
  const auto total = static_cast<unsigned>(20 + options + payload.size());
  add(result,
      {8,  0,           0x40U | static_cast<unsigned>(5 + (options / 4)),
       0,  total >> 8U, total,
       0,  0,           0x40,
       0,  64,          protocol,
       0,  0,           10,
       96, 0,           10,
       10, 0,           0,
       1});
  result.resize(result.size() + options, 1);
  add(result, payload);
  return result;
}

Bytes ipv6(unsigned next, const Bytes& payload) {
  Bytes result(12, 2);
  const auto size = static_cast<unsigned>(payload.size());
  add(result, {0x86, 0xdd, 0x60, 0, 0, 0, size >> 8U, size, next, 64});
  add(result, Bytes{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10});
  add(result, Bytes{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  add(result, payload);
  return result;
}

// Sums everything up anew; 0xffff if the checksum that is in it is right.
unsigned sum_of(std::span<const std::uint8_t> bytes, std::uint64_t sum = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += std::uint64_t{bytes[i]} << (i % 2 == 0 ? 8U : 0U);
  }
  while (sum >> 16U != 0) {
    sum = (sum & 0xffffU) + (sum >> 16U);
  }
  return static_cast<unsigned>(sum);
}

TEST(Frame, OfUdpOverIpv4HasTheMessageAndTheFlow) {
  Bytes frame = ipv4(IPPROTO_UDP, udp(kMessage));
  add(frame, Bytes(7, 0));  // Ethernet's padding
  const auto read = read_frame(as_bytes(frame));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(text(read->payload), "hello");
  EXPECT_EQ(read->flow, (DnsFlow{.source = *parse_ip("10.96.0.10"),
                                 .destination = *parse_ip("10.0.0.1"),
                                 .source_port = 53,
                                 .destination_port = 4660,
                                 .protocol = IPPROTO_UDP}));
}

TEST(Frame, OfTcpHasTheSegmentsPlaceInTheFlow) {
  const Bytes frame = ipv4(IPPROTO_TCP, tcp(kMessage, 0x18, 12), 8);
  const auto read = read_frame(as_bytes(frame));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(text(read->payload), "hello");
  EXPECT_EQ(read->sequence, 0x80000001U);
  EXPECT_FALSE(read->syn);
  EXPECT_FALSE(read->end);
  EXPECT_EQ(read->flow.protocol, IPPROTO_TCP);
  EXPECT_TRUE(read_frame(as_bytes(ipv4(IPPROTO_TCP, tcp({}, 0x12))))->syn);
  EXPECT_TRUE(read_frame(as_bytes(ipv4(IPPROTO_TCP, tcp({}, 0x11))))->end);
  EXPECT_TRUE(read_frame(as_bytes(ipv4(IPPROTO_TCP, tcp({}, 0x04))))->end);
}

TEST(Frame, OfIpv6IsReadBehindExtensionHeaders) {
  // Hop-by-hop of 8 bytes, destination options of 16, a fragment that is all.
  Bytes payload{IPPROTO_DSTOPTS, 0, 1, 4, 0, 0, 0, 0};
  add(payload,
      {IPPROTO_FRAGMENT, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  add(payload, {IPPROTO_UDP, 0, 0, 0, 1, 2, 3, 4});
  add(payload, udp(kMessage));
  const Bytes frame = ipv6(IPPROTO_HOPOPTS, payload);
  const auto read = read_frame(as_bytes(frame));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(text(read->payload), "hello");
  EXPECT_EQ(to_string(read->flow.source), "fd00::a");
  EXPECT_EQ(to_string(read->flow.destination), "fd00::1");
}

TEST(Frame, FragmentsAndOtherPacketsAreErrors) {
  Bytes fragment = ipv4(IPPROTO_UDP, udp(kMessage));
  fragment[kEthernet + 6] = 0x20;
  EXPECT_THAT(read_frame(as_bytes(fragment)).error().message,
              HasSubstr("fragment"));
  Bytes first{IPPROTO_UDP, 0, 0, 1, 1, 2, 3, 4};
  add(first, udp(kMessage));
  EXPECT_THAT(
      read_frame(as_bytes(ipv6(IPPROTO_FRAGMENT, first))).error().message,
      HasSubstr("fragment"));
  EXPECT_THAT(
      read_frame(as_bytes(ipv4(IPPROTO_ICMP, Bytes(20)))).error().message,
      HasSubstr("protocol 1"));
  Bytes arp = ipv4(IPPROTO_UDP, udp(kMessage));
  arp[13] = 6;
  EXPECT_THAT(read_frame(as_bytes(arp)).error().message,
              HasSubstr("neither IPv4 nor IPv6"));
  Bytes endless;
  for (int i = 0; i < 20; ++i) {
    add(endless, {IPPROTO_DSTOPTS, 0, 1, 4, 0, 0, 0, 0});
  }
  EXPECT_THAT(
      read_frame(as_bytes(ipv6(IPPROTO_DSTOPTS, endless))).error().message,
      HasSubstr("too many"));
}

// Every frame that breaks off, and 200,000 that are damaged: an error, or a
// payload that is inside. The sanitizers say whether a byte outside was read.
TEST(Frame, DamageIsAnErrorOrStaysInside) {
  Bytes extended{IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0};
  add(extended, udp(kMessage));
  const std::vector<Bytes> frames{
      ipv4(IPPROTO_UDP, udp(kMessage)), ipv4(IPPROTO_TCP, tcp(kMessage, 2), 4),
      ipv6(IPPROTO_TCP, tcp(kMessage, 2, 8)), ipv6(IPPROTO_HOPOPTS, extended)};
  for (const Bytes& frame : frames) {
    ASSERT_TRUE(read_frame(as_bytes(frame)));
    for (std::size_t size = 0; size < frame.size(); ++size) {
      Bytes cut(frame.begin(),
                frame.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_FALSE(read_frame(as_bytes(cut))) << size;
      const Bytes before = cut;
      EXPECT_FALSE(complete_checksums(std::as_writable_bytes(std::span(cut))));
      EXPECT_EQ(cut, before);
    }
  }
  std::mt19937 random(3);
  for (int i = 0; i < 200000; ++i) {
    Bytes frame = frames[random() % frames.size()];
    for (unsigned n = random() % 4; n > 0; --n) {
      frame[random() % frame.size()] = static_cast<std::uint8_t>(random());
    }
    frame.shrink_to_fit();
    const auto read = read_frame(as_bytes(frame));
    if (read) {
      ASSERT_LE(text(read->payload).size(), frame.size());
    }
    ASSERT_EQ(complete_checksums(std::as_writable_bytes(std::span(frame)))
                  .has_value(),
              read.has_value());
  }
}

TEST(Checksums, OfIpv4AndItsTransportAreRight) {
  for (const auto& [protocol, transport] :
       {std::pair(unsigned{IPPROTO_UDP}, udp(kMessage)),
        std::pair(unsigned{IPPROTO_TCP}, tcp(kMessage, 0x18, 12))}) {
    Bytes frame = ipv4(protocol, transport, 4);
    frame[kEthernet + 10] = 0x99;
    add(frame, Bytes(3, 0xee));  // padding counts for nothing
    ASSERT_TRUE(complete_checksums(std::as_writable_bytes(std::span(frame))));
    const std::span all(frame);
    EXPECT_EQ(sum_of(all.subspan(kEthernet, 24)), 0xffffU);
    const auto body = all.subspan(kEthernet + 24, transport.size());
    EXPECT_EQ(sum_of(body, sum_of(all.subspan(kEthernet + 12, 8)) + protocol +
                               body.size()),
              0xffffU);
    EXPECT_EQ(frame.back(), 0xee);
  }
}

TEST(Checksums, OfIpv6AreRightBehindExtensionHeaders) {
  Bytes payload{IPPROTO_UDP, 0, 1, 4, 0, 0, 0, 0};
  const Bytes transport = udp(kMessage);
  add(payload, transport);
  Bytes frame = ipv6(IPPROTO_DSTOPTS, payload);
  ASSERT_TRUE(complete_checksums(std::as_writable_bytes(std::span(frame))));
  const std::span all(frame);
  const auto body = all.subspan(kEthernet + 48);
  EXPECT_EQ(sum_of(body, sum_of(all.subspan(kEthernet + 8, 32)) + IPPROTO_UDP +
                             body.size()),
            0xffffU);
}

TEST(Checksums, OfUdpAreNeverNone) {
  // Two bytes that make the sum 0xffff and so the checksum 0.
  Bytes frame = ipv4(IPPROTO_UDP, udp({0, 0}));
  ASSERT_TRUE(complete_checksums(std::as_writable_bytes(std::span(frame))));
  const std::size_t checksum = kEthernet + 20 + 6;
  frame[kEthernet + 28] = frame[checksum];
  frame[kEthernet + 29] = frame[checksum + 1];
  ASSERT_TRUE(complete_checksums(std::as_writable_bytes(std::span(frame))));
  EXPECT_EQ(frame[checksum], 0xff);
  EXPECT_EQ(frame[checksum + 1], 0xff);
}

}  // namespace
}  // namespace sluice::agent
