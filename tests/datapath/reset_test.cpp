// SPDX-License-Identifier: Apache-2.0
// on-policy-change = reset: what the sender of a segment gets whose flow the
// policy has ended.
#include <cstring>
#include <span>
#include <string>

#include <gtest/gtest.h>

#include "tests/datapath/net.h"

namespace sluice::testing {
namespace {

constexpr Entry kAllowIn80 = {
    .direction = SLUICE_INGRESS, .protocol = kTcp, .port = 80, .port_bits = 16};
constexpr Entry kAllowInUdp = {
    .direction = SLUICE_INGRESS, .protocol = kUdp, .port = 80, .port_bits = 16};
constexpr std::uint32_t kSequence = 0xfffffffe;
constexpr std::uint32_t kAcknowledged = 0x01020304;
constexpr std::uint32_t kPayload = 8;
constexpr std::size_t kTcpSize = 20;

void put32(Bytes& bytes, std::size_t at, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) {
    bytes.at(at + static_cast<std::size_t>(i)) =
        static_cast<std::uint8_t>(value >> (24 - (8 * i)));
  }
}

std::uint32_t get(std::span<const std::uint8_t> bytes, std::size_t at,
                  int size) {
  std::uint32_t value = 0;
  for (int i = 0; i < size; ++i) {
    value = value << 8U | bytes[at + static_cast<std::size_t>(i)];
  }
  return value;
}

// 0 if the checksum in the bytes is right.
std::uint16_t checksum(const Bytes& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t at = 0; at + 1 < bytes.size(); at += 2) {
    sum += get(bytes, at, 2);
  }
  while (sum >> 16U != 0) {
    sum = (sum & 0xffffU) + (sum >> 16U);
  }
  return static_cast<std::uint16_t>(~sum);
}

class Reset : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(runner_.forget());
    put({kAllowIn80, kAllowInUdp});
  }
  void TearDown() override {
    runner_.datapath().state()->on_policy_change = SLUICE_CHANGE_REEVALUATE;
  }
  void put(std::vector<Entry> entries) {
    World world = net_.isolated(std::move(entries));
    world.on_policy_change = SLUICE_CHANGE_RESET;
    ASSERT_TRUE(runner_.set(world));
  }
  [[nodiscard]] static Bytes segment(std::uint16_t from, std::uint16_t to,
                                     std::uint8_t flags) {
    Bytes bytes = tcp(from, to, flags, kPayload);
    put32(bytes, 4, kSequence);
    put32(bytes, 8, kAcknowledged);
    return bytes;
  }
  [[nodiscard]] Bytes in(std::uint8_t flags) const {
    return net_.from(net_.b, kTcp, segment(1000, 80, flags));
  }
  [[nodiscard]] Bytes out(std::uint8_t flags) const {
    return net_.to(net_.b, kTcp, segment(80, 1000, flags));
  }
  Outcome run(sluice_direction direction, const Bytes& frame,
              std::uint32_t mark = 0) {
    auto outcome = runner_.run(direction, frame, {.mark = mark});
    EXPECT_TRUE(outcome) << outcome.error().message;
    return outcome ? *outcome : Outcome{};
  }
  void open_flow() {
    ASSERT_TRUE(run(SLUICE_INGRESS, in(kSyn)).allowed);
    ASSERT_TRUE(run(SLUICE_EGRESS, out(kSyn | kAck)).allowed);
  }
  // A reset that answers `frame`, byte by byte.
  void check_answer(const Bytes& answer, const Bytes& frame,
                    std::uint32_t sequence, std::uint32_t acknowledgement,
                    std::uint8_t flags) const {
    const std::size_t ip = net_.v6 ? 40 : 20;
    const std::size_t address = net_.v6 ? 16 : 4;
    const std::size_t source = kEthernetSize + (net_.v6 ? 8 : 12);
    ASSERT_EQ(answer.size(), kEthernetSize + ip + kTcpSize);
    const auto part = [](const Bytes& bytes, std::size_t at, std::size_t size) {
      return Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                   bytes.begin() + static_cast<std::ptrdiff_t>(at + size));
    };
    EXPECT_EQ(part(answer, 0, 6), part(frame, 6, 6));
    EXPECT_EQ(part(answer, 6, 6), part(frame, 0, 6));
    EXPECT_EQ(part(answer, 12, 2), part(frame, 12, 2));
    EXPECT_EQ(part(answer, source, address),
              part(frame, source + address, address));
    EXPECT_EQ(part(answer, source + address, address),
              part(frame, source, address));
    const Bytes header = part(answer, kEthernetSize, ip);
    if (net_.v6) {
      EXPECT_EQ(get(header, 0, 4), 0x60000000U);
      EXPECT_EQ(get(header, 4, 4), kTcpSize << 16U | kTcp << 8U | 64U);
    } else {
      EXPECT_EQ(get(header, 0, 4), 0x45000000U | (ip + kTcpSize));
      EXPECT_EQ(get(header, 8, 2), 64U << 8U | kTcp);
      EXPECT_EQ(checksum(header), 0);
    }
    const std::size_t l4 = kEthernetSize + ip;
    EXPECT_EQ(part(answer, l4, 2), part(frame, l4 + 2, 2));
    EXPECT_EQ(part(answer, l4 + 2, 2), part(frame, l4, 2));
    EXPECT_EQ(get(answer, l4 + 4, 4), sequence);
    EXPECT_EQ(get(answer, l4 + 8, 4), acknowledgement);
    EXPECT_EQ(get(answer, l4 + 12, 4), 0x50000000U | flags << 16U);
    Bytes summed = part(answer, source, 2 * address);
    summed.insert(summed.end(), {0, kTcp, 0, kTcpSize});
    const Bytes transport = part(answer, l4, kTcpSize);
    summed.insert(summed.end(), transport.begin(), transport.end());
    EXPECT_EQ(checksum(summed), 0);
  }

  Net net_ = make_net(GetParam());
  Runner& runner_ = shared_runner();
};

TEST_P(Reset, AnswersBothEndsOfAFlowThatAChangeHasEnded) {
  open_flow();
  put({});
  const Bytes from_client = in(kAck);
  Outcome outcome = run(SLUICE_INGRESS, from_client);
  EXPECT_EQ(outcome.reason, SLUICE_REASON_DEFAULT_DENY);
  EXPECT_EQ(outcome.events.size(), 1U);
  check_answer(outcome.answer, from_client, kAcknowledged, 0, kRst);
  const Bytes from_server = out(kAck | kFin);
  outcome = run(SLUICE_EGRESS, from_server);
  EXPECT_EQ(outcome.reason, SLUICE_REASON_REPLY_OF_DENIED);
  check_answer(outcome.answer, from_server, kAcknowledged, 0, kRst);
}

TEST_P(Reset, AcknowledgesASegmentThatAcknowledgesNothing) {
  open_flow();
  put({});
  const Bytes syn = in(kSyn);
  // Counts as a byte, like every byte of data, and wraps.
  check_answer(run(SLUICE_INGRESS, syn).answer, syn, 0,
               kSequence + kPayload + 1, kRst | kAck);
}

TEST_P(Reset, NeverAnswersAReset) {
  open_flow();
  put({});
  for (const std::uint8_t flags :
       {kRst, static_cast<std::uint8_t>(kRst | kAck)}) {
    const Outcome from_client = run(SLUICE_INGRESS, in(flags));
    EXPECT_FALSE(from_client.allowed);
    EXPECT_TRUE(from_client.answer.empty());
    const Outcome from_server = run(SLUICE_EGRESS, out(flags));
    EXPECT_FALSE(from_server.allowed);
    EXPECT_TRUE(from_server.answer.empty());
  }
}

TEST_P(Reset, OfItsOwnPassesTheProgramOnThePodsSideAndNoOther) {
  open_flow();
  put({});
  const std::uint32_t mark = runner_.datapath().state()->reset_mark;
  ASSERT_NE(mark, 0U);
  EXPECT_EQ(run(SLUICE_EGRESS, out(kRst), mark).reason, SLUICE_REASON_RESET);
  EXPECT_FALSE(run(SLUICE_EGRESS, out(kRst), mark + 1).allowed);
  EXPECT_FALSE(run(SLUICE_INGRESS, in(kRst), mark).allowed);
  EXPECT_FALSE(run(SLUICE_EGRESS, out(kAck), mark).allowed);
  EXPECT_FALSE(
      run(SLUICE_EGRESS, net_.to(net_.c, kTcp, segment(80, 1000, kRst)), mark)
          .allowed);
}

TEST_P(Reset, IsForFlowsThatWereAllowedOnce) {
  put({});
  const Outcome outcome = run(SLUICE_INGRESS, in(kAck));
  EXPECT_EQ(outcome.reason, SLUICE_REASON_DEFAULT_DENY);
  EXPECT_TRUE(outcome.answer.empty());
}

TEST_P(Reset, IsForTcpAlone) {
  const Bytes query = net_.from(net_.b, kUdp, udp(1000, 80));
  ASSERT_TRUE(run(SLUICE_INGRESS, query).allowed);
  put({});
  const Outcome outcome = run(SLUICE_INGRESS, query);
  EXPECT_EQ(outcome.reason, SLUICE_REASON_DEFAULT_DENY);
  EXPECT_TRUE(outcome.answer.empty());
}

TEST_P(Reset, DropsWhatItCannotAnswer) {
  open_flow();
  put({});
  const IpOptions options = {.options = net_.v6 ? Bytes{} : Bytes{1, 1, 1, 0},
                             .extensions = net_.v6 ? std::vector<Extension>(1)
                                                   : std::vector<Extension>{}};
  const Outcome outcome =
      run(SLUICE_INGRESS,
          net_.from(net_.b, kTcp, segment(1000, 80, kAck), options));
  EXPECT_EQ(outcome.reason, SLUICE_REASON_DEFAULT_DENY);
  EXPECT_FALSE(outcome.allowed);
  EXPECT_TRUE(outcome.answer.empty());
}

TEST_P(Reset, LeavesFlowsAloneThatTheChangeAllows) {
  open_flow();
  put({kAllowIn80});
  EXPECT_EQ(run(SLUICE_INGRESS, in(kAck)).reason, SLUICE_REASON_ESTABLISHED);
  EXPECT_EQ(run(SLUICE_EGRESS, out(kAck)).reason, SLUICE_REASON_REPLY);
}

INSTANTIATE_TEST_SUITE_P(Kernel, Reset, ::testing::Bool(),
                         [](const auto& value) {
                           return value.param ? std::string("V6")
                                              : std::string("V4");
                         });

}  // namespace
}  // namespace sluice::testing
