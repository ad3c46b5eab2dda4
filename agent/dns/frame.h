// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/ip.h"
#include "lib/base/result.h"

// Ethernet frames that carry DNS, as the kernel copies them to the agent. Pure:
// no descriptors, no clock. One thread at a time.
namespace sluice::agent {

// One direction of a flow. Ports in host order.
struct DnsFlow {
  IpAddress source;
  IpAddress destination;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint8_t protocol = 0;  // IPPROTO_UDP, IPPROTO_TCP
  auto operator<=>(const DnsFlow&) const = default;
};

struct DnsFrame {
  DnsFlow flow;
  // UDP: the message. TCP: what the segment carries, which may be nothing. A
  // view into the frame.
  std::span<const std::byte> payload;
  // TCP alone: the number of the first byte of the payload, or of the SYN.
  std::uint32_t sequence = 0;
  bool syn = false;
  bool end = false;  // FIN or RST
};

// Reads an untagged frame with IPv4 or IPv6 (options and extension headers are
// skipped) and UDP or TCP. Bytes behind the IP packet do not belong to it. The
// error says why there is no such packet in it: it breaks off, is a fragment,
// or is of another protocol.
Result<DnsFrame> read_frame(std::span<const std::byte> frame);

// A fragment of a UDP datagram.
struct DnsFragment {
  IpAddress source;
  IpAddress destination;
  std::uint32_t id = 0;
  std::size_t offset = 0;  // of the payload in the IP packet's
  bool last = false;
  // Of the IP packet. A view into the frame.
  std::span<const std::byte> payload;
};

// Reads an untagged frame with a fragment. The error says why there is none in
// it: it breaks off, is no fragment, or one of another protocol.
Result<DnsFragment> read_fragment(std::span<const std::byte> frame);

// Cuts a TCP segment into several, as a network card would, with `payload`
// bytes (above 0) each but for the last one. One that is not larger gives
// itself. Their checksums have to be computed.
Result<std::vector<std::vector<std::byte>>> cut_segment(
    std::span<const std::byte> frame, std::size_t payload);

// Computes the checksums of the IPv4 header and of UDP or TCP, because those of
// a frame that was copied from the kernel may have been left to a network card.
// If the frame cannot be read, it stays as it is.
Result<void> complete_checksums(std::span<std::byte> frame);

}  // namespace sluice::agent
