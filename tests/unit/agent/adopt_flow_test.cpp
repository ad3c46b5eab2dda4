// SPDX-License-Identifier: Apache-2.0
// From ctnetlink's messages to entries of conntrack.
// clang-format off: before linux/in.h, which gives way to it
#include <netinet/in.h>
// clang-format on

#include "agent/adopt_flow.h"

#include <array>
#include <memory>
#include <string>

#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_sctp.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netlink/attr.h>
#include <netlink/msg.h>

#include <endian.h>
#include <gtest/gtest.h>

#include "agent/adopt_seed.h"

namespace sluice::agent {
namespace {

constexpr std::uint32_t kPod = 7;
constexpr std::uint32_t kOther = 8;
constexpr std::uint32_t kSeen = IPS_SEEN_REPLY | IPS_CONFIRMED;

IpAddress ip(const std::string& text) {
  return *parse_ip(text);
}

const AdoptedAddresses kAdopted = {
    {ip("10.0.0.2"), kPod}, {ip("fd00::2"), kPod}, {ip("10.0.0.3"), kOther}};
const NodeAddresses kNode = {ip("10.0.0.1"), ip("192.0.2.1"), ip("fd00::1"),
                             ip("127.0.0.1")};

// ---- messages ----

struct MessageDeleter {
  void operator()(nl_msg* message) const { nlmsg_free(message); }
};
using Message = std::unique_ptr<nl_msg, MessageDeleter>;

struct Side {
  std::string source;
  std::string destination;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
};

// A message as the kernel writes it.
class Wire {
 public:
  explicit Wire(std::uint8_t protocol, int type = IPCTNL_MSG_CT_NEW)
      : protocol_(protocol),
        message_(nlmsg_alloc_simple((NFNL_SUBSYS_CTNETLINK << 8) | type, 0)) {
    nfgenmsg header{.nfgen_family = AF_INET};
    nlmsg_append(get(), &header, sizeof(header), NLMSG_ALIGNTO);
  }

  Wire& tuple(int type, const Side& side, std::uint8_t icmp_type = 0) {
    nlattr* all = nla_nest_start(get(), type);
    nlattr* addresses = nla_nest_start(get(), CTA_TUPLE_IP);
    const auto source = ip(side.source);
    const auto destination = ip(side.destination);
    nla_put(get(), source.v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, source.bits() / 8,
            source.bytes.data());
    nla_put(get(), source.v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, source.bits() / 8,
            destination.bytes.data());
    nla_nest_end(get(), addresses);
    nlattr* ports = nla_nest_start(get(), CTA_TUPLE_PROTO);
    nla_put_u8(get(), CTA_PROTO_NUM, protocol_);
    if (protocol_ == IPPROTO_ICMP || protocol_ == IPPROTO_ICMPV6) {
      const bool v6 = protocol_ == IPPROTO_ICMPV6;
      nla_put_u16(get(), v6 ? CTA_PROTO_ICMPV6_ID : CTA_PROTO_ICMP_ID,
                  htobe16(side.source_port));
      nla_put_u8(get(), v6 ? CTA_PROTO_ICMPV6_TYPE : CTA_PROTO_ICMP_TYPE,
                 icmp_type);
    } else {
      nla_put_u16(get(), CTA_PROTO_SRC_PORT, htobe16(side.source_port));
      nla_put_u16(get(), CTA_PROTO_DST_PORT, htobe16(side.destination_port));
    }
    nla_nest_end(get(), ports);
    nla_nest_end(get(), all);
    return *this;
  }
  Wire& status(std::uint32_t bits) {
    nla_put_u32(get(), CTA_STATUS, htobe32(bits));
    return *this;
  }
  Wire& tcp(std::uint8_t state, std::array<std::uint8_t, 2> flags = {}) {
    nlattr* all = nla_nest_start(get(), CTA_PROTOINFO);
    nlattr* part = nla_nest_start(get(), CTA_PROTOINFO_TCP);
    nla_put_u8(get(), CTA_PROTOINFO_TCP_STATE, state);
    const nf_ct_tcp_flags original{.flags = flags[0], .mask = 0};
    const nf_ct_tcp_flags reply{.flags = flags[1], .mask = 0};
    nla_put(get(), CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, 2, &original);
    nla_put(get(), CTA_PROTOINFO_TCP_FLAGS_REPLY, 2, &reply);
    nla_nest_end(get(), part);
    nla_nest_end(get(), all);
    return *this;
  }
  Wire& sctp(std::uint8_t state) {
    nlattr* all = nla_nest_start(get(), CTA_PROTOINFO);
    nlattr* part = nla_nest_start(get(), CTA_PROTOINFO_SCTP);
    nla_put_u8(get(), CTA_PROTOINFO_SCTP_STATE, state);
    nla_nest_end(get(), part);
    nla_nest_end(get(), all);
    return *this;
  }
  [[nodiscard]] nl_msg* get() const { return message_.get(); }
  [[nodiscard]] const nlmsghdr& header() const { return *nlmsg_hdr(get()); }
  [[nodiscard]] std::optional<TrackedFlow> parsed() const {
    return parse_tracked_flow(header());
  }

 private:
  std::uint8_t protocol_;
  Message message_;
};

Wire flow_of(std::uint8_t protocol, const Side& original, const Side& reply,
             std::uint32_t status = kSeen, std::uint8_t icmp_type = 0) {
  Wire wire(protocol);
  wire.tuple(CTA_TUPLE_ORIG, original, icmp_type)
      .tuple(CTA_TUPLE_REPLY, reply, icmp_type)
      .status(status);
  return wire;
}

Wire established(const Side& original, const Side& reply,
                 std::uint32_t status = kSeen | IPS_ASSURED) {
  auto wire = flow_of(IPPROTO_TCP, original, reply, status);
  wire.tcp(TCP_CONNTRACK_ESTABLISHED);
  return wire;
}

std::vector<Seed> seeds(const Wire& wire) {
  const auto flow = wire.parsed();
  EXPECT_TRUE(flow.has_value());
  return flow ? seeds_of(*flow, kAdopted, kNode) : std::vector<Seed>{};
}

Seed seed(const std::string& remote, std::uint16_t local_port,
          std::uint16_t remote_port, int opened_by, std::uint8_t state,
          std::uint8_t protocol = IPPROTO_TCP) {
  return {.ifindex = kPod,
          .remote = ip(remote),
          .local_port = htobe16(local_port),
          .remote_port = htobe16(remote_port),
          .protocol = protocol,
          .opened_by = static_cast<std::uint8_t>(opened_by),
          .state = state,
          .origin = {}};
}

// Without translation, opened by the pod.
const Side kOut{"10.0.0.2", "203.0.113.7", 40000, 443};
const Side kOutReply{"203.0.113.7", "10.0.0.2", 443, 40000};
// And by the other side.
const Side kIn{"203.0.113.7", "10.0.0.2", 50000, 80};
const Side kInReply{"10.0.0.2", "203.0.113.7", 80, 50000};

// ---- which view ----

TEST(AdoptFlow, PodOpened) {
  EXPECT_EQ(seeds(established(kOut, kOutReply)),
            std::vector{seed("203.0.113.7", 40000, 443, SLUICE_EGRESS,
                             SLUICE_CT_REPLIED)});
}

TEST(AdoptFlow, OtherSideOpened) {
  EXPECT_EQ(seeds(established(kIn, kInReply)),
            std::vector{seed("203.0.113.7", 80, 50000, SLUICE_INGRESS,
                             SLUICE_CT_REPLIED)});
}

TEST(AdoptFlow, BothFamilies) {
  EXPECT_EQ(seeds(established({"fd00::2", "2001:db8::7", 40000, 443},
                              {"2001:db8::7", "fd00::2", 443, 40000})),
            std::vector{seed("2001:db8::7", 40000, 443, SLUICE_EGRESS,
                             SLUICE_CT_REPLIED)});
}

TEST(AdoptFlow, OfNoEndpointIsNothing) {
  EXPECT_TRUE(seeds(established({"10.0.0.9", "203.0.113.7", 1, 2},
                                {"203.0.113.7", "10.0.0.9", 2, 1}))
                  .empty());
}

TEST(AdoptFlow, BetweenTwoEndpointsIsOneOfEach) {
  const auto found = seeds(established({"10.0.0.2", "10.0.0.3", 40000, 80},
                                       {"10.0.0.3", "10.0.0.2", 80, 40000}));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0],
            seed("10.0.0.3", 40000, 80, SLUICE_EGRESS, SLUICE_CT_REPLIED));
  auto other = seed("10.0.0.2", 80, 40000, SLUICE_INGRESS, SLUICE_CT_REPLIED);
  other.ifindex = kOther;
  EXPECT_EQ(found[1], other);
}

// The pod's veth sees the Service's address, the backend's its own.
TEST(AdoptFlow, ThroughAServicesAddress) {
  const auto found = seeds(established({"10.0.0.2", "10.96.0.10", 40000, 80},
                                       {"10.0.0.3", "10.0.0.2", 8080, 40000}));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0],
            seed("10.96.0.10", 40000, 80, SLUICE_EGRESS, SLUICE_CT_REPLIED));
  EXPECT_EQ(found[1].ifindex, kOther);
  EXPECT_EQ(found[1].remote, ip("10.0.0.2"));
  EXPECT_EQ(be16toh(found[1].local_port), 8080);
  EXPECT_EQ(be16toh(found[1].remote_port), 40000);
}

// What the node makes of it behind the veth does not matter.
TEST(AdoptFlow, PodBehindTheNodesAddress) {
  EXPECT_EQ(seeds(established(kOut, {"203.0.113.7", "192.0.2.1", 443, 61000})),
            std::vector{seed("203.0.113.7", 40000, 443, SLUICE_EGRESS,
                             SLUICE_CT_REPLIED)});
}

// ---- who opened it ----

TEST(AdoptFlow, MasqueradedNodePortHasItsCaller) {
  auto wanted = seed("10.0.0.1", 8080, 61000, SLUICE_INGRESS,
                     SLUICE_CT_REPLIED | SLUICE_CT_MASQUERADED);
  wanted.origin = ip("203.0.113.7");
  EXPECT_EQ(seeds(established({"203.0.113.7", "192.0.2.1", 50000, 31080},
                              {"10.0.0.2", "10.0.0.1", 8080, 61000})),
            std::vector{wanted});
}

TEST(AdoptFlow, NodePortWithTheCallersAddressIsPlain) {
  EXPECT_EQ(seeds(established({"203.0.113.7", "192.0.2.1", 50000, 31080},
                              {"10.0.0.2", "203.0.113.7", 8080, 50000})),
            std::vector{seed("203.0.113.7", 8080, 50000, SLUICE_INGRESS,
                             SLUICE_CT_REPLIED)});
}

TEST(AdoptFlow, PodThatReachesItselfHasBothViews) {
  const auto found = seeds(established({"10.0.0.2", "10.96.0.10", 40000, 80},
                                       {"10.0.0.2", "10.0.0.1", 8080, 61000}));
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0],
            seed("10.96.0.10", 40000, 80, SLUICE_EGRESS, SLUICE_CT_REPLIED));
  auto in = seed("10.0.0.1", 8080, 61000, SLUICE_INGRESS,
                 SLUICE_CT_REPLIED | SLUICE_CT_MASQUERADED);
  in.origin = ip("10.0.0.2");
  EXPECT_EQ(found[1], in);
}

TEST(AdoptFlow, NodesOwnStack) {
  const auto state = [](const Wire& wire) {
    const auto found = seeds(wire);
    return found.size() == 1 ? found[0].state & ~SLUICE_CT_REPLIED : -1;
  };
  const Side v4{"10.0.0.1", "10.0.0.2", 50000, 8080};
  const Side v4_reply{"10.0.0.2", "10.0.0.1", 8080, 50000};
  const Side v6{"fd00::1", "fd00::2", 50000, 8080};
  const Side v6_reply{"fd00::2", "fd00::1", 8080, 50000};
  EXPECT_EQ(state(established(v4, v4_reply)), SLUICE_CT_FROM_NODE);
  EXPECT_EQ(state(flow_of(IPPROTO_UDP, v4, v4_reply)), SLUICE_CT_FROM_NODE);
  EXPECT_EQ(state(established(v6, v6_reply)), SLUICE_CT_FROM_NODE);
  // Anybody can write such a source, as long as no handshake proves it.
  EXPECT_EQ(state(established(v6, v6_reply, kSeen)), SLUICE_CT_UNTRACED);
  EXPECT_EQ(state(flow_of(IPPROTO_UDP, v6, v6_reply)), SLUICE_CT_UNTRACED);
  // Through a Service, from another of its addresses.
  EXPECT_EQ(state(established({"192.0.2.1", "10.96.0.10", 50000, 80},
                              {"10.0.0.2", "10.0.0.1", 8080, 50000})),
            SLUICE_CT_FROM_NODE);
}

// ---- protocols and states ----

TEST(AdoptFlow, Udp) {
  EXPECT_EQ(seeds(flow_of(IPPROTO_UDP, kOut, kOutReply, IPS_CONFIRMED)),
            std::vector{seed("203.0.113.7", 40000, 443, SLUICE_EGRESS, 0,
                             IPPROTO_UDP)});
  EXPECT_EQ(seeds(flow_of(IPPROTO_UDP, kIn, kInReply)),
            std::vector{seed("203.0.113.7", 80, 50000, SLUICE_INGRESS,
                             SLUICE_CT_REPLIED, IPPROTO_UDP)});
}

TEST(AdoptFlow, Sctp) {
  EXPECT_EQ(seeds(flow_of(IPPROTO_SCTP, kOut, kOutReply)
                      .sctp(SCTP_CONNTRACK_ESTABLISHED)),
            std::vector{seed("203.0.113.7", 40000, 443, SLUICE_EGRESS,
                             SLUICE_CT_REPLIED, IPPROTO_SCTP)});
  EXPECT_TRUE(
      seeds(flow_of(IPPROTO_SCTP, kOut, kOutReply).sctp(SCTP_CONNTRACK_CLOSED))
          .empty());
  // What the kernel calls an INIT that has no answer yet.
  EXPECT_EQ(seeds(flow_of(IPPROTO_SCTP, kOut, kOutReply, IPS_CONFIRMED)
                      .sctp(SCTP_CONNTRACK_CLOSED)),
            std::vector{seed("203.0.113.7", 40000, 443, SLUICE_EGRESS, 0,
                             IPPROTO_SCTP)});
}

TEST(AdoptFlow, EchoIsKeptByItsIdentifierAndWhoAsked) {
  EXPECT_EQ(seeds(flow_of(IPPROTO_ICMP, {"10.0.0.2", "203.0.113.7", 77},
                          {"203.0.113.7", "10.0.0.2", 77}, kSeen, 8)),
            std::vector{seed("203.0.113.7", 77, 0, SLUICE_EGRESS,
                             SLUICE_CT_REPLIED, IPPROTO_ICMP)});
  EXPECT_EQ(seeds(flow_of(IPPROTO_ICMPV6, {"2001:db8::7", "fd00::2", 78},
                          {"fd00::2", "2001:db8::7", 78}, kSeen, 128)),
            std::vector{seed("2001:db8::7", 78, 1, SLUICE_INGRESS,
                             SLUICE_CT_REPLIED, IPPROTO_ICMPV6)});
  // A time stamp is no echo, and has no flow.
  EXPECT_TRUE(seeds(flow_of(IPPROTO_ICMP, {"10.0.0.2", "203.0.113.7", 77},
                            {"203.0.113.7", "10.0.0.2", 77}, kSeen, 13))
                  .empty());
}

TEST(AdoptFlow, ProtocolsWithoutPortsHaveNone) {
  EXPECT_EQ(seeds(flow_of(IPPROTO_GRE, kOut, kOutReply)),
            std::vector{seed("203.0.113.7", 0, 0, SLUICE_EGRESS,
                             SLUICE_CT_REPLIED, IPPROTO_GRE)});
}

TEST(AdoptFlow, WhoClosedItsHalfOfAConnection) {
  const auto state = [](std::uint8_t kernel, std::uint8_t original,
                        std::uint8_t reply, const Side& one, const Side& two) {
    const auto found =
        seeds(flow_of(IPPROTO_TCP, one, two).tcp(kernel, {original, reply}));
    return found.size() == 1 ? found[0].state : -1;
  };
  constexpr int kReplied = SLUICE_CT_REPLIED;
  constexpr std::uint8_t kFirst = IP_CT_TCP_FLAG_CLOSE_INIT;
  EXPECT_EQ(state(TCP_CONNTRACK_FIN_WAIT, kFirst, 0, kOut, kOutReply),
            kReplied | SLUICE_CT_FIN_EGRESS);
  EXPECT_EQ(state(TCP_CONNTRACK_CLOSE_WAIT, 0, kFirst, kOut, kOutReply),
            kReplied | SLUICE_CT_FIN_INGRESS);
  EXPECT_EQ(state(TCP_CONNTRACK_FIN_WAIT, kFirst, 0, kIn, kInReply),
            kReplied | SLUICE_CT_FIN_INGRESS);
  EXPECT_EQ(state(TCP_CONNTRACK_LAST_ACK, kFirst, 0, kIn, kInReply),
            kReplied | SLUICE_CT_FIN_INGRESS | SLUICE_CT_FIN_EGRESS);
  EXPECT_EQ(state(TCP_CONNTRACK_SYN_RECV, 0, 0, kIn, kInReply), kReplied);
  EXPECT_EQ(state(TCP_CONNTRACK_SYN_SENT2, 0, 0, kIn, kInReply), kReplied);
  for (const auto over : {TCP_CONNTRACK_TIME_WAIT, TCP_CONNTRACK_CLOSE}) {
    EXPECT_EQ(state(over, kFirst, 0, kOut, kOutReply), -1);
  }
}

TEST(AdoptFlow, OpeningIsNotReplied) {
  EXPECT_EQ(seeds(flow_of(IPPROTO_TCP, kOut, kOutReply, IPS_CONFIRMED)
                      .tcp(TCP_CONNTRACK_SYN_SENT)),
            std::vector{seed("203.0.113.7", 40000, 443, SLUICE_EGRESS, 0)});
}

TEST(AdoptFlow, DyingIsOver) {
  EXPECT_TRUE(
      seeds(flow_of(IPPROTO_UDP, kOut, kOutReply, kSeen | IPS_DYING)).empty());
}

// The kernel takes who speaks first for the opener then.
TEST(AdoptFlow, PickedUpInTheMiddleSaysNothingOfTheOpener) {
  constexpr std::uint8_t kAssumed =
      IP_CT_TCP_FLAG_SACK_PERM | IP_CT_TCP_FLAG_BE_LIBERAL;
  const auto picked_up =
      flow_of(IPPROTO_TCP, kOut, kOutReply)
          .tcp(TCP_CONNTRACK_ESTABLISHED, {kAssumed, kAssumed})
          .parsed();
  ASSERT_TRUE(picked_up.has_value());
  EXPECT_TRUE(is_picked_up(*picked_up));
  EXPECT_TRUE(seeds_of(*picked_up, kAdopted, kNode).empty());
  // Seen from its first segment, and handed to hardware since.
  constexpr std::uint8_t kOffloaded = kAssumed | IP_CT_TCP_FLAG_WINDOW_SCALE;
  const auto offloaded =
      flow_of(IPPROTO_TCP, kOut, kOutReply)
          .tcp(TCP_CONNTRACK_ESTABLISHED, {kOffloaded, kOffloaded})
          .parsed();
  ASSERT_TRUE(offloaded.has_value());
  EXPECT_FALSE(is_picked_up(*offloaded));
}

// ---- bad input ----

TEST(AdoptFlow, OtherMessagesAreNoFlow) {
  Wire other(IPPROTO_TCP, IPCTNL_MSG_CT_DELETE);
  other.tuple(CTA_TUPLE_ORIG, kOut).tuple(CTA_TUPLE_REPLY, kOutReply);
  EXPECT_FALSE(other.parsed().has_value());
  Wire half(IPPROTO_TCP);
  half.tuple(CTA_TUPLE_ORIG, kOut);
  EXPECT_FALSE(half.parsed().has_value());
}

TEST(AdoptFlow, AttributesOfOddLengthsAreIgnored) {
  Wire wire(IPPROTO_UDP);
  wire.tuple(CTA_TUPLE_ORIG, kOut).tuple(CTA_TUPLE_REPLY, kOutReply);
  nla_put_u16(wire.get(), CTA_STATUS, 0xFFFF);
  nla_put(wire.get(), CTA_PROTOINFO, 0, nullptr);
  const auto flow = wire.parsed();
  ASSERT_TRUE(flow.has_value());
  EXPECT_EQ(flow->status, 0U);
}

}  // namespace
}  // namespace sluice::agent
