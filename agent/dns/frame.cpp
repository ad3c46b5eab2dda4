// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/frame.h"

#include <algorithm>
#include <iterator>
#include <string>

#include <netinet/in.h>

namespace sluice::agent {
namespace {

constexpr std::size_t kEthernet = 14;
constexpr std::size_t kEthertypeAt = 12;
constexpr unsigned kIpv4Ethertype = 0x0800;
constexpr unsigned kIpv6Ethertype = 0x86dd;
constexpr std::size_t kIpv4Header = 20;
constexpr std::size_t kIpv6Header = 40;
constexpr std::size_t kUdpHeader = 8;
constexpr std::size_t kTcpHeader = 20;
// Hosts send two or three.
constexpr int kExtensionHeaders = 8;

using Bytes = std::span<const std::byte>;

unsigned byte(Bytes bytes, std::size_t at) {
  return std::to_integer<unsigned>(bytes[at]);
}

unsigned u16(Bytes bytes, std::size_t at) {
  return byte(bytes, at) << 8U | byte(bytes, at + 1);
}

std::uint32_t u32(Bytes bytes, std::size_t at) {
  return u16(bytes, at) << 16U | u16(bytes, at + 2);
}

void put_u16(std::span<std::byte> bytes, std::size_t at, unsigned value) {
  bytes[at] = static_cast<std::byte>(value >> 8U);
  bytes[at + 1] = static_cast<std::byte>(value);
}

// Where the parts of a frame are: offsets into it.
struct Layout {
  bool v6 = false;
  unsigned protocol = 0;
  std::size_t transport = 0;
  std::size_t end = 0;  // of the IP packet
  bool fragment = false;
  std::size_t offset = 0;  // of the fragment
  bool more = false;       // fragments follow
  std::uint32_t fragment_id = 0;
};

std::unexpected<Error> breaks_off() {
  return fail("the packet breaks off");
}

Result<Layout> read_ipv4(Bytes frame) {
  if (frame.size() < kEthernet + kIpv4Header) {
    return breaks_off();
  }
  const Bytes ip = frame.subspan(kEthernet);
  const std::size_t header = std::size_t{byte(ip, 0) & 0xfU} * 4;
  const std::size_t total = u16(ip, 2);
  if (byte(ip, 0) >> 4U != 4 || header < kIpv4Header || total < header) {
    return fail("the IPv4 header contradicts itself");
  }
  if (total > ip.size()) {
    return breaks_off();
  }
  const unsigned fragment = u16(ip, 6);
  return Layout{.protocol = byte(ip, 9),
                .transport = kEthernet + header,
                .end = kEthernet + total,
                // All but the bit "do not fragment".
                .fragment = (fragment & 0xbfffU) != 0,
                .offset = std::size_t{fragment & 0x1fffU} * 8,
                .more = (fragment & 0x2000U) != 0,
                .fragment_id = u16(ip, 4)};
}

// What stands at `at` of an IPv6 packet is an extension header with `protocol`
// as its type: moves both behind it.
Result<void> skip_extension(Bytes frame, Layout& layout) {
  const std::size_t left = layout.end - layout.transport;
  if (left < 8) {
    return breaks_off();
  }
  const Bytes header = frame.subspan(layout.transport, left);
  std::size_t size = (std::size_t{byte(header, 1)} + 1) * 8;
  if (layout.protocol == IPPROTO_FRAGMENT) {
    const unsigned fragment = u16(header, 2);
    size = 8;
    layout.fragment = (fragment & 0xfff9U) != 0;
    layout.offset = fragment & 0xfff8U;
    layout.more = (fragment & 1U) != 0;
    layout.fragment_id = u32(header, 4);
  }
  // The checksum is made with the last address of the route.
  if (layout.protocol == IPPROTO_ROUTING && byte(header, 3) != 0) {
    return fail("the packet has not reached the end of its route");
  }
  if (size > left) {
    return breaks_off();
  }
  layout.protocol = byte(header, 0);
  layout.transport += size;
  return {};
}

Result<Layout> read_ipv6(Bytes frame) {
  if (frame.size() < kEthernet + kIpv6Header) {
    return breaks_off();
  }
  const Bytes ip = frame.subspan(kEthernet);
  if (byte(ip, 0) >> 4U != 6) {
    return fail("the IPv6 header contradicts itself");
  }
  const std::size_t size = kIpv6Header + u16(ip, 4);
  if (size > ip.size()) {
    return breaks_off();
  }
  Layout layout{.v6 = true,
                .protocol = byte(ip, 6),
                .transport = kEthernet + kIpv6Header,
                .end = kEthernet + size};
  for (int i = 0; i < kExtensionHeaders; ++i) {
    if (layout.protocol != IPPROTO_HOPOPTS &&
        layout.protocol != IPPROTO_ROUTING &&
        layout.protocol != IPPROTO_DSTOPTS &&
        layout.protocol != IPPROTO_FRAGMENT) {
      return layout;
    }
    if (auto skipped = skip_extension(frame, layout); !skipped) {
      return std::unexpected(std::move(skipped.error()));
    }
    // Behind the header of a fragment stands what only the first one has.
    if (layout.fragment) {
      return layout;
    }
  }
  return fail("the packet has too many extension headers");
}

// The size of the transport header; shortens the packet to its UDP datagram.
Result<std::size_t> read_transport(Bytes frame, Layout& layout) {
  const std::size_t left = layout.end - layout.transport;
  const Bytes header = frame.subspan(layout.transport, left);
  if (layout.protocol == IPPROTO_UDP) {
    if (left < kUdpHeader) {
      return breaks_off();
    }
    const std::size_t size = u16(header, 4);
    if (size < kUdpHeader || size > left) {
      return fail("the UDP header contradicts the packet's size");
    }
    layout.end = layout.transport + size;
    return kUdpHeader;
  }
  if (layout.protocol != IPPROTO_TCP) {
    return fail("the packet has neither UDP nor TCP but protocol " +
                std::to_string(layout.protocol));
  }
  if (left < kTcpHeader) {
    return breaks_off();
  }
  const std::size_t size = std::size_t{byte(header, 12) >> 4U} * 4;
  if (size < kTcpHeader || size > left) {
    return fail("the TCP header contradicts the packet's size");
  }
  return size;
}

Result<Layout> read_ip(Bytes frame) {
  if (frame.size() < kEthernet) {
    return breaks_off();
  }
  switch (u16(frame, kEthertypeAt)) {
    case kIpv4Ethertype:
      return read_ipv4(frame);
    case kIpv6Ethertype:
      return read_ipv6(frame);
    default:
      return fail("the frame has neither IPv4 nor IPv6");
  }
}

Result<Layout> read_layout(Bytes frame) {
  auto layout = read_ip(frame);
  return layout && layout->fragment ? fail("the packet is a fragment")
                                    : std::move(layout);
}

IpAddress read_address(Bytes frame, std::size_t at, bool v6) {
  IpAddress result{.v6 = v6};
  std::ranges::transform(
      frame.subspan(at, v6 ? 16 : 4), result.bytes.begin(),
      [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
  return result;
}

IpAddress read_source(Bytes frame, bool v6) {
  return read_address(frame, kEthernet + (v6 ? 8 : 12), v6);
}

IpAddress read_destination(Bytes frame, bool v6) {
  return read_address(frame, kEthernet + (v6 ? 24 : 16), v6);
}

// RFC 1071; at most 64 KB and a pseudo header.
std::uint32_t add_up(std::uint32_t sum, Bytes bytes) {
  for (std::size_t at = 0; at + 1 < bytes.size(); at += 2) {
    sum += u16(bytes, at);
    sum = (sum & 0xffffU) + (sum >> 16U);
  }
  if (bytes.size() % 2 != 0) {
    sum += byte(bytes, bytes.size() - 1) << 8U;
  }
  return sum;
}

unsigned finish(std::uint32_t sum) {
  while (sum >> 16U != 0) {
    sum = (sum & 0xffffU) + (sum >> 16U);
  }
  return ~sum & 0xffffU;
}

}  // namespace

Result<DnsFrame> read_frame(std::span<const std::byte> frame) {
  auto layout = read_layout(frame);
  if (!layout) {
    return std::unexpected(std::move(layout.error()));
  }
  const auto header = read_transport(frame, *layout);
  if (!header) {
    return std::unexpected(header.error());
  }
  const std::size_t transport = layout->transport;
  DnsFrame result;
  result.flow = {
      .source = read_source(frame, layout->v6),
      .destination = read_destination(frame, layout->v6),
      .source_port = static_cast<std::uint16_t>(u16(frame, transport)),
      .destination_port = static_cast<std::uint16_t>(u16(frame, transport + 2)),
      .protocol = static_cast<std::uint8_t>(layout->protocol)};
  result.payload =
      frame.subspan(transport + *header, layout->end - transport - *header);
  if (layout->protocol == IPPROTO_TCP) {
    const unsigned flags = byte(frame, transport + 13);
    result.sequence = u32(frame, transport + 4);
    result.syn = (flags & 0x02U) != 0;
    result.end = (flags & 0x05U) != 0;
  }
  return result;
}

Result<DnsFragment> read_fragment(std::span<const std::byte> frame) {
  const auto layout = read_ip(frame);
  if (!layout) {
    return std::unexpected(layout.error());
  }
  if (!layout->fragment || layout->protocol != IPPROTO_UDP) {
    return fail("the packet is no fragment of a UDP datagram");
  }
  const std::size_t size = layout->end - layout->transport;
  return DnsFragment{.source = read_source(frame, layout->v6),
                     .destination = read_destination(frame, layout->v6),
                     .id = layout->fragment_id,
                     .offset = layout->offset,
                     .last = !layout->more,
                     .payload = frame.subspan(layout->transport, size)};
}

Result<std::vector<std::vector<std::byte>>> cut_segment(
    std::span<const std::byte> frame, std::size_t payload) {
  constexpr unsigned kIpv4Id = 4;
  constexpr std::size_t kTcpFlags = 13;
  constexpr unsigned kFinAndPsh = 0x09;  // of the last segment
  constexpr unsigned kCwr = 0x80;        // of the first one
  auto layout = read_layout(frame);
  if (!layout) {
    return std::unexpected(std::move(layout.error()));
  }
  const auto tcp_header = read_transport(frame, *layout);
  if (!tcp_header || layout->protocol != IPPROTO_TCP) {
    return fail("the packet is no TCP segment");
  }
  const std::size_t head = layout->transport + *tcp_header;
  std::vector<std::vector<std::byte>> result;
  for (std::size_t at = head; at < layout->end || result.empty();
       at += payload) {
    const std::size_t size = std::min(payload, layout->end - at);
    const bool first = at == head;
    const bool last = at + size == layout->end;
    const Bytes headers = frame.first(head);
    const Bytes part = frame.subspan(at, size);
    auto& segment = result.emplace_back(headers.begin(), headers.end());
    segment.insert(segment.end(), part.begin(), part.end());
    const std::span ip = std::span(segment).subspan(kEthernet);
    if (layout->v6) {
      put_u16(ip, 4, static_cast<unsigned>(ip.size() - kIpv6Header));
    } else {
      put_u16(ip, 2, static_cast<unsigned>(ip.size()));
      put_u16(ip, kIpv4Id,
              u16(ip, kIpv4Id) + static_cast<unsigned>(result.size() - 1));
    }
    const std::span tcp = std::span(segment).subspan(layout->transport);
    const std::uint32_t sequence =
        u32(tcp, 4) + static_cast<std::uint32_t>(at - head);
    put_u16(tcp, 4, sequence >> 16U);
    put_u16(tcp, 6, sequence & 0xffffU);
    tcp[kTcpFlags] &= static_cast<std::byte>(
        ~((last ? 0U : kFinAndPsh) | (first ? 0U : kCwr)));
  }
  return result;
}

Result<void> complete_checksums(std::span<std::byte> frame) {
  auto layout = read_layout(frame);
  if (!layout) {
    return std::unexpected(std::move(layout.error()));
  }
  if (auto header = read_transport(frame, *layout); !header) {
    return std::unexpected(std::move(header.error()));
  }
  const auto ip = frame.subspan(kEthernet);
  if (!layout->v6) {
    put_u16(ip, 10, 0);
    put_u16(ip, 10,
            finish(add_up(0, ip.first(std::size_t{byte(ip, 0) & 0xfU} * 4))));
  }
  const auto transport =
      frame.subspan(layout->transport, layout->end - layout->transport);
  const bool udp = layout->protocol == IPPROTO_UDP;
  const std::size_t checksum_at = udp ? 6 : 16;
  put_u16(transport, checksum_at, 0);
  // Of the pseudo header: both addresses, the protocol and the size.
  std::uint32_t sum =
      add_up(0, layout->v6 ? ip.subspan(8, 32) : ip.subspan(12, 8));
  sum += layout->protocol + static_cast<std::uint32_t>(transport.size());
  unsigned checksum = finish(add_up(sum, transport));
  if (udp && checksum == 0) {
    checksum = 0xffff;  // 0 means that there is none
  }
  put_u16(transport, checksum_at, checksum);
  return {};
}

}  // namespace sluice::agent
