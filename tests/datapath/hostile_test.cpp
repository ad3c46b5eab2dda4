// SPDX-License-Identifier: Apache-2.0
// Packets that nobody sends by accident. What holds for all of them: nothing
// that policy forbids passes, and every packet leaves by one counted reason.
#include <algorithm>
#include <cerrno>
#include <random>

#include <gtest/gtest.h>

#include "tests/datapath/front.h"
#include "tests/datapath/net.h"

namespace sluice::testing {
namespace {

constexpr std::uint32_t kSeed = 20240607;
constexpr int kMutations = 60'000;  // for each family and direction

std::uint64_t packets(const ReasonCounters& c) {
  std::uint64_t sum = 0;
  for (const sluice_counter& counter : c) {
    sum += counter.packets;
  }
  return sum;
}

std::uint16_t at16(const Bytes& frame, std::size_t at) {
  return static_cast<std::uint16_t>(frame.at(at) << 8 | frame.at(at + 1));
}

bool same(const Bytes& frame, std::size_t at, const IpAddress& address) {
  const std::size_t size = address.bits() / 8U;
  return at + size <= frame.size() &&
         std::equal(address.bytes.begin(), address.bytes.begin() + size,
                    frame.begin() + static_cast<std::ptrdiff_t>(at));
}

// Whether a frame may pass an endpoint that is isolated both ways and has no
// entry: ARP, what may be neighbour discovery, the endpoint talking to itself.
// Wider than the datapath where that is simpler.
bool may_pass_without_entries(const Bytes& frame, sluice_direction direction) {
  const std::uint16_t type = at16(frame, 12);
  if (type == 0x0806) {
    return true;
  }
  const bool v6 = type == 0x86dd;
  if (!v6 && type != 0x0800) {
    return false;
  }
  const std::size_t source = kEthernetSize + (v6 ? 8U : 12U);
  const std::size_t remote =
      direction == SLUICE_EGRESS ? source + (v6 ? 16U : 4U) : source;
  const bool discovery = v6 && frame.size() > kEthernetSize + 40 &&
                         frame[kEthernetSize + 7] == 255;
  return discovery || same(frame, remote, make_net(v6).own);
}

// Where the transport header is, and of which protocol, by a parser of its own;
// nullopt if there is none. Extension headers and fragments: none.
struct Transport {
  std::uint8_t protocol = 0;
  std::size_t at = 0;
};
std::optional<Transport> plain_transport(const Bytes& frame) {
  if (frame.size() < kEthernetSize + 20) {
    return std::nullopt;
  }
  const std::uint8_t first = frame[kEthernetSize];
  if (at16(frame, 12) == 0x0800 && first >> 4 == 4) {
    return Transport{.protocol = frame[kEthernetSize + 9],
                     .at = kEthernetSize + (std::size_t{first & 0xfU} * 4)};
  }
  if (at16(frame, 12) == 0x86dd && first >> 4 == 6) {
    return Transport{.protocol = frame[kEthernetSize + 6],
                     .at = kEthernetSize + 40};
  }
  return std::nullopt;
}

std::vector<Bytes> valid_frames(const Net& net, sluice_direction direction) {
  const auto frame = [&](std::uint8_t protocol, const Bytes& transport,
                         const IpOptions& options = {}) {
    return direction == SLUICE_EGRESS
               ? net.to(net.b, protocol, transport, options)
               : net.from(net.b, protocol, transport, options);
  };
  std::vector<Bytes> frames = {
      frame(kTcp, tcp(1000, 80)),
      frame(kUdp, udp(1000, 53)),
      frame(kSctp, sctp(1000, 80)),
      frame(kGre, Bytes(16)),
      frame(net.icmp_protocol, icmp(net.echo_request, 0, 1)),
      frame(kUdp, udp(1000, 53, 40), {.fragment = Fragment{.more = true}}),
      frame(kUdp, udp(1000, 53, 40), {.fragment = Fragment{.offset = 64}}),
      frame(net.icmp_protocol,
            [&] {
              const Bytes quoted = direction == SLUICE_INGRESS
                                       ? net.to(net.b, kTcp, tcp(1000, 80))
                                       : net.from(net.b, kTcp, tcp(1000, 80));
              return without_ethernet(icmp_error({.from = net.b, .to = net.own},
                                                 net.unreachable, 4, quoted));
            }()),
  };
  if (net.v6) {
    frames.push_back(frame(kTcp, tcp(1000, 80),
                           {.extensions = {{.type = kHopByHop},
                                           {.type = kRouting},
                                           {.type = kDestinationOptions}}}));
    frames.push_back(
        frame(kTcp, tcp(1000, 80),
              {.extensions = {{.type = kAuthentication, .body = Bytes(22)}}}));
  } else {
    frames.push_back(frame(kTcp, tcp(1000, 80), {.options = Bytes(40, 1)}));
  }
  return frames;
}

struct Way {
  bool v6 = false;
  sluice_direction direction = SLUICE_INGRESS;
};

class DatapathHostile : public ::testing::TestWithParam<Way> {};

TEST_P(DatapathHostile, TruncatedAtEveryByteNothingPassesThatWasAllowedWhole) {
  const auto [v6, direction] = GetParam();
  const Net net = make_net(v6);
  Runner& runner = shared_runner();
  // Everything of b is allowed: only that a packet is cut makes it fail.
  ASSERT_TRUE(runner.set(net.isolated(
      {{.direction = direction, .cidr_id = kClassB, .rule = 20}})));
  const auto front =
      Front::cut(direction == SLUICE_EGRESS ? runner.datapath().from_pod_fd()
                                            : runner.datapath().to_pod_fd());
  ASSERT_TRUE(front) << front.error().message;
  for (const Bytes& whole : valid_frames(net, direction)) {
    ASSERT_TRUE(runner.forget());
    const auto passed = runner.verdict(direction, whole);
    ASSERT_TRUE(passed) << passed.error().message;
    EXPECT_TRUE(*passed);
    for (std::size_t size = kEthernetSize; size < whole.size(); ++size) {
      const auto outcome =
          runner.run_through(front->fd(), static_cast<std::uint32_t>(size),
                             direction, whole, size);
      ASSERT_TRUE(outcome) << outcome.error().message << ", " << size;
      EXPECT_FALSE(outcome->allowed) << size << " of " << whole.size();
      ASSERT_TRUE(outcome->reason) << size;
      EXPECT_EQ(reason_name(*outcome->reason), "TRUNCATED") << size;
    }
  }
}

TEST_P(DatapathHostile, MutationsPassNothingWhereNothingIsAllowed) {
  const auto [v6, direction] = GetParam();
  const Net net = make_net(v6);
  Runner& runner = shared_runner();
  ASSERT_TRUE(runner.forget());
  ASSERT_TRUE(runner.set(net.isolated()));
  std::mt19937 random(kSeed + (v6 ? 1 : 0) + (2 * direction));
  const std::vector<Bytes> frames = valid_frames(net, direction);
  const auto before = runner.counters();
  ASSERT_TRUE(before);
  int refused = 0;
  for (int i = 0; i < kMutations; ++i) {
    Bytes frame = frames[random() % frames.size()];
    for (std::uint32_t change = (random() % 4) + 1; change > 0; --change) {
      // Mostly in the headers, where it matters.
      frame[12 + (random() % (std::min<std::size_t>(frame.size(), 90) - 12))] =
          static_cast<std::uint8_t>(random());
    }
    if (random() % 4 == 0) {
      frame.resize(std::max<std::size_t>(kEthernetSize + (v6 ? 40 : 20),
                                         random() % (frame.size() + 20)));
    }
    const auto allowed = runner.verdict(direction, frame);
    if (!allowed) {  // a test run takes no frame shorter than its IP header
      ASSERT_EQ(allowed.error().code, EINVAL) << allowed.error().message;
      ++refused;
      continue;
    }
    if (*allowed) {
      ASSERT_TRUE(may_pass_without_entries(frame, direction)) << "number " << i;
    }
  }
  const auto after = runner.counters();
  ASSERT_TRUE(after);
  EXPECT_EQ(packets(*after) - packets(*before),
            static_cast<std::uint64_t>(kMutations - refused));
  EXPECT_LT(refused, kMutations / 10);
}

TEST_P(DatapathHostile, MutationsPassOnlyWhatAnIndependentParserFindsAllowed) {
  const auto [v6, direction] = GetParam();
  const Net net = make_net(v6);
  Runner& runner = shared_runner();
  ASSERT_TRUE(runner.forget());
  // TCP to port 80 of or from b; only this direction is run, so that no packet
  // is a reply.
  ASSERT_TRUE(runner.set(net.isolated({{.direction = direction,
                                        .cidr_id = kClassB,
                                        .protocol = kTcp,
                                        .port = 80,
                                        .port_bits = 16,
                                        .rule = 20}})));
  std::mt19937 random(kSeed + 10 + (v6 ? 1 : 0) + (2 * direction));
  const std::size_t source = kEthernetSize + (v6 ? 8U : 12U);
  const std::size_t remote =
      direction == SLUICE_EGRESS ? source + (v6 ? 16U : 4U) : source;
  const Bytes whole = direction == SLUICE_EGRESS
                          ? net.to(net.b, kTcp, tcp(1000, 80))
                          : net.from(net.b, kTcp, tcp(1000, 80));
  int passed = 0;
  for (int i = 0; i < kMutations / 4; ++i) {
    Bytes frame = whole;
    // Anywhere but in IPv6's next header and IPv4's fragment bits, of which
    // the parser here knows nothing.
    for (std::uint32_t change = (random() % 2) + 1; change > 0; --change) {
      const std::size_t at = 12 + (random() % (frame.size() - 12));
      const bool skipped =
          v6 ? at == kEthernetSize + 6
             : at == kEthernetSize + 6 || at == kEthernetSize + 7;
      if (!skipped) {
        frame[at] = static_cast<std::uint8_t>(random());
      }
    }
    const auto allowed = runner.verdict(direction, frame);
    ASSERT_TRUE(allowed) << allowed.error().message;
    if (!*allowed || may_pass_without_entries(frame, direction)) {
      continue;
    }
    ++passed;
    const auto transport = plain_transport(frame);
    ASSERT_TRUE(transport) << "number " << i;
    EXPECT_EQ(transport->protocol, kTcp) << "number " << i;
    ASSERT_LE(transport->at + 20, frame.size()) << "number " << i;
    EXPECT_EQ(at16(frame, transport->at + 2), 80) << "number " << i;
    EXPECT_TRUE(same(frame, remote, net.b)) << "number " << i;
  }
  EXPECT_GT(passed, kMutations / 16);  // the checks above have seen packets
}

std::string way_name(const ::testing::TestParamInfo<Way>& info) {
  return std::string(info.param.v6 ? "V6" : "V4") +
         (info.param.direction == SLUICE_INGRESS ? "ToPod" : "FromPod");
}

INSTANTIATE_TEST_SUITE_P(
    Kernel, DatapathHostile,
    ::testing::Values(Way{.v6 = false, .direction = SLUICE_INGRESS},
                      Way{.v6 = false, .direction = SLUICE_EGRESS},
                      Way{.v6 = true, .direction = SLUICE_INGRESS},
                      Way{.v6 = true, .direction = SLUICE_EGRESS}),
    way_name);

TEST(DatapathHostileHeaders, EveryIpv4HeaderLengthIsTakenAtItsWord) {
  const Net net = make_net(false);
  Runner& runner = shared_runner();
  ASSERT_TRUE(runner.forget());
  ASSERT_TRUE(runner.set(net.isolated(
      {{.protocol = kTcp, .port = 80, .port_bits = 16, .rule = 20}})));
  for (std::uint8_t words = 0; words < 16; ++words) {
    SCOPED_TRACE(static_cast<int>(words));
    // Sixty bytes of "port 1000 to 80" behind twenty of header: wherever the
    // header ends, ports are read there, or it is not read at all.
    Bytes segment;
    for (int i = 0; i < 30; ++i) {
      const Bytes ports = {0x03, 0xe8, 0x00, 0x50};
      segment.insert(segment.end(), ports.begin(), ports.end());
    }
    segment.at(words < 5 ? 12 : ((words - 5U) * 4U) + 12) = 0x50;
    Bytes frame = net.from(net.b, kTcp, segment);
    frame.at(kEthernetSize) = static_cast<std::uint8_t>(0x40 | words);
    const auto outcome = runner.run(SLUICE_INGRESS, frame);
    ASSERT_TRUE(outcome && outcome->reason);
    EXPECT_EQ(outcome->allowed, words >= 5);
    if (words < 5) {
      EXPECT_EQ(reason_name(*outcome->reason), "BAD_HEADER");
    }
  }
}

TEST(DatapathHostileHeaders, ChainsOfEveryLengthAreWalkedOrDropped) {
  const Net net = make_net(true);
  Runner& runner = shared_runner();
  ASSERT_TRUE(runner.set(net.isolated(
      {{.protocol = kTcp, .port = 80, .port_bits = 16, .rule = 20}})));
  for (const std::uint8_t type :
       {kHopByHop, kRouting, kDestinationOptions, kAuthentication}) {
    for (std::size_t length = 0; length <= 24; ++length) {
      SCOPED_TRACE(std::to_string(type) + " x " + std::to_string(length));
      Extension extension{.type = type};
      if (type == kAuthentication) {
        extension.body = Bytes(10);
      }
      const IpOptions options = {.extensions =
                                     std::vector<Extension>(length, extension)};
      ASSERT_TRUE(runner.forget());
      const auto good = runner.run(SLUICE_INGRESS,
                                   net.from(net.b, kTcp, tcp(1, 80), options));
      const auto bad = runner.run(SLUICE_INGRESS,
                                  net.from(net.b, kTcp, tcp(1, 81), options));
      ASSERT_TRUE(good && good->reason && bad && bad->reason);
      EXPECT_EQ(reason_name(*good->reason),
                length <= 8 ? "POLICY_ALLOW" : "EXTENSION_HEADERS");
      EXPECT_EQ(reason_name(*bad->reason),
                length <= 8 ? "DEFAULT_DENY" : "EXTENSION_HEADERS");
    }
  }
}

TEST(DatapathHostileHeaders, OverlappingFragmentsOpenNoPort) {
  for (const bool v6 : {false, true}) {
    const Net net = make_net(v6);
    Runner& runner = shared_runner();
    ASSERT_TRUE(runner.forget());
    ASSERT_TRUE(runner.set(net.isolated(
        {{.protocol = kUdp, .port = 53, .port_bits = 16, .rule = 20}})));
    const auto send = [&](std::uint16_t port, std::uint16_t offset) {
      const auto outcome = runner.run(
          SLUICE_INGRESS,
          net.from(net.b, kUdp, udp(7, port, 16),
                   {.fragment = Fragment{.offset = offset, .more = true}}));
      return outcome && outcome->allowed;
    };
    EXPECT_FALSE(send(54, 8));  // before any first fragment
    EXPECT_TRUE(send(53, 0));   // opens the datagram for port 53
    EXPECT_FALSE(send(54, 0));  // another beginning is judged by itself
    EXPECT_TRUE(send(53, 0));   // the same once more
    EXPECT_TRUE(send(54, 8));   // a later part, whatever its bytes look like
    EXPECT_TRUE(send(54, 16));
  }
}

}  // namespace
}  // namespace sluice::testing
