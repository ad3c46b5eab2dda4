// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "lib/base/ip.h"

// Packets as bytes, Ethernet header first, for BPF_PROG_TEST_RUN and packet
// sockets. Ports and ids are in host order. Transport checksums are zero: the
// datapath ignores them.
namespace sluice::packet {

using Bytes = std::vector<std::uint8_t>;

inline constexpr std::uint8_t kTcp = 6;
inline constexpr std::uint8_t kUdp = 17;
inline constexpr std::uint8_t kSctp = 132;
inline constexpr std::uint8_t kGre = 47;
inline constexpr std::uint8_t kIcmp = 1;
inline constexpr std::uint8_t kIcmp6 = 58;

inline constexpr std::uint8_t kFin = 0x01;
inline constexpr std::uint8_t kSyn = 0x02;
inline constexpr std::uint8_t kRst = 0x04;
inline constexpr std::uint8_t kAck = 0x10;

inline constexpr std::uint8_t kHopByHop = 0;
inline constexpr std::uint8_t kRouting = 43;
inline constexpr std::uint8_t kFragmentHeader = 44;
inline constexpr std::uint8_t kAuthentication = 51;
inline constexpr std::uint8_t kDestinationOptions = 60;

inline constexpr std::size_t kEthernetSize = 14;

struct Fragment {
  std::uint16_t id = 1;      // IPv6: the low half
  std::uint16_t offset = 0;  // bytes, a multiple of eight
  bool more = false;
};

// An IPv6 extension header; `body` follows the next-header and length bytes and
// fills the header up to its length.
struct Extension {
  std::uint8_t type = kHopByHop;
  Bytes body = Bytes(6);
};

struct IpOptions {
  Bytes options;  // IPv4; a multiple of four, at most 40
  std::vector<Extension> extensions;
  std::uint8_t hop_limit = 64;
  std::optional<Fragment> fragment;  // IPv6: behind the extensions
  std::size_t padding = 0;           // bytes behind the IP packet
};

struct Endpoints {
  IpAddress from;
  IpAddress to;
};

// Transport headers with a little payload. A TCP segment begins at 1; one with
// ACK acknowledges 1.
Bytes tcp(std::uint16_t sport, std::uint16_t dport, std::uint8_t flags = kSyn,
          std::size_t payload = 8);
Bytes udp(std::uint16_t sport, std::uint16_t dport, std::size_t payload = 8);
Bytes sctp(std::uint16_t sport, std::uint16_t dport);
Bytes icmp(std::uint8_t type, std::uint8_t code, std::uint16_t identifier = 0,
           std::size_t payload = 16);

// `ethertype` and what follows.
Bytes ethernet(std::uint16_t ethertype, const Bytes& payload);
// The whole frame; both addresses of one family.
Bytes ip_frame(const Endpoints& ends, std::uint8_t protocol,
               const Bytes& transport, const IpOptions& options = {});
// The IP packet in a frame.
Bytes without_ethernet(const Bytes& frame);
// An ICMP or ICMPv6 error from ends.from that quotes the packet in `frame`, of
// which at most `quoted` bytes.
Bytes icmp_error(const Endpoints& ends, std::uint8_t type, std::uint8_t code,
                 const Bytes& frame, std::size_t quoted = 512);

}  // namespace sluice::packet

namespace sluice::cli {

struct PacketSpec {
  IpAddress from;
  IpAddress to;
  std::uint8_t protocol = 6;
  std::uint16_t port = 0;  // destination; ICMP: type << 8 | code
  // Distinguishes flows: source port, or ICMP identifier.
  std::uint16_t number = 0;
};

// The Ethernet frame of a flow's first packet. nullopt for ICMP in IPv6 and
// ICMPv6 in IPv4.
std::optional<packet::Bytes> first_packet(const PacketSpec& spec);

}  // namespace sluice::cli
