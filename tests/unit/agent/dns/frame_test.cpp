// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/frame.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "tests/unit/agent/dns/frames.h"

namespace sluice::agent {
namespace {

using testing::HasSubstr;

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

TEST(Cut, SegmentsCarryTheSameBytesInOrder) {
  const Bytes payload(2500, 'x');
  for (const auto& frame : {ipv4(IPPROTO_TCP, tcp(payload, 0x99, 12)),
                            ipv6(IPPROTO_TCP, tcp(payload, 0x99, 12))}) {
    auto cut = cut_segment(as_bytes(frame), 1000);
    ASSERT_TRUE(cut) << cut.error().message;
    ASSERT_EQ(cut->size(), 3U);
    std::size_t at = 0;
    for (auto& segment : *cut) {
      ASSERT_TRUE(complete_checksums(segment));
      const auto read = read_frame(segment);
      ASSERT_TRUE(read) << read.error().message;
      EXPECT_EQ(read->sequence, 0x80000001U + at);
      EXPECT_EQ(read->payload.size(), at == 2000 ? 500U : 1000U);
      // FIN is the last one's.
      EXPECT_EQ(read->end, at == 2000);
      at += read->payload.size();
    }
  }
}

TEST(Cut, WhatIsSmallStaysWhole) {
  const Bytes frame = ipv4(IPPROTO_TCP, tcp(kMessage, 0x18));
  const auto cut = cut_segment(as_bytes(frame), 1000);
  ASSERT_TRUE(cut) << cut.error().message;
  ASSERT_EQ(cut->size(), 1U);
  EXPECT_TRUE(std::ranges::equal(cut->front(), as_bytes(frame)));
  EXPECT_FALSE(cut_segment(as_bytes(ipv4(IPPROTO_UDP, udp(kMessage))), 1000));
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
