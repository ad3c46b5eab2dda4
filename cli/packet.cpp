// SPDX-License-Identifier: Apache-2.0
#include "cli/packet.h"

#include <algorithm>

namespace sluice::packet {
namespace {

void put16(Bytes& bytes, std::size_t value) {
  bytes.push_back(static_cast<std::uint8_t>(value >> 8));
  bytes.push_back(static_cast<std::uint8_t>(value));
}

void put32(Bytes& bytes, std::uint32_t value) {
  put16(bytes, value >> 16);
  put16(bytes, value & 0xffff);
}

void append(Bytes& bytes, const Bytes& more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

void put_address(Bytes& bytes, const IpAddress& address) {
  bytes.insert(bytes.end(), address.bytes.begin(),
               address.bytes.begin() + (address.bits() / 8));
}

void fill(Bytes& bytes, std::size_t count) {
  bytes.insert(bytes.end(), count, 0x5a);
}

// Internet checksum (RFC 1071) of an even number of bytes.
std::uint16_t checksum(const Bytes& bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    sum += static_cast<std::uint32_t>(bytes[i]) << 8 | bytes[i + 1];
  }
  while (sum >> 16 != 0) {
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(~sum);
}

Bytes ipv4(const Endpoints& ends, std::uint8_t protocol, const Bytes& transport,
           const IpOptions& options) {
  const std::size_t header = 20 + options.options.size();
  std::size_t fragment = 0;
  if (options.fragment) {
    fragment = (options.fragment->offset / 8U) +
               (options.fragment->more ? 0x2000U : 0U);
  }
  Bytes bytes;
  bytes.push_back(static_cast<std::uint8_t>(0x40 | (header / 4)));
  bytes.push_back(0);
  put16(bytes, header + transport.size());
  put16(bytes, options.fragment ? options.fragment->id : 0);
  put16(bytes, fragment);
  bytes.push_back(options.hop_limit);
  bytes.push_back(protocol);
  put16(bytes, 0);
  put_address(bytes, ends.from);
  put_address(bytes, ends.to);
  append(bytes, options.options);
  const std::uint16_t sum = checksum(bytes);
  bytes[10] = static_cast<std::uint8_t>(sum >> 8);
  bytes[11] = static_cast<std::uint8_t>(sum);
  append(bytes, transport);
  return bytes;
}

// The authentication header counts words of four bytes, less two.
std::uint8_t extension_length(const Extension& extension) {
  const std::size_t size = extension.body.size() + 2;
  return static_cast<std::uint8_t>(
      extension.type == kAuthentication ? (size / 4) - 2 : (size / 8) - 1);
}

Bytes ipv6(const Endpoints& ends, std::uint8_t protocol, const Bytes& transport,
           const IpOptions& options) {
  std::vector<std::uint8_t> types;
  types.reserve(options.extensions.size() + 2);
  for (const Extension& extension : options.extensions) {
    types.push_back(extension.type);
  }
  if (options.fragment) {
    types.push_back(kFragmentHeader);
  }
  types.push_back(protocol);

  Bytes rest;
  for (std::size_t i = 0; i < options.extensions.size(); ++i) {
    rest.push_back(types[i + 1]);
    rest.push_back(extension_length(options.extensions[i]));
    append(rest, options.extensions[i].body);
  }
  if (options.fragment) {
    rest.push_back(protocol);
    rest.push_back(0);
    put16(rest, options.fragment->offset + (options.fragment->more ? 1U : 0U));
    put32(rest, options.fragment->id);
  }
  append(rest, transport);

  Bytes bytes = {0x60, 0, 0, 0};
  put16(bytes, rest.size());
  bytes.push_back(types.front());
  bytes.push_back(options.hop_limit);
  put_address(bytes, ends.from);
  put_address(bytes, ends.to);
  append(bytes, rest);
  return bytes;
}

}  // namespace

Bytes tcp(std::uint16_t sport, std::uint16_t dport, std::uint8_t flags,
          std::size_t payload) {
  Bytes bytes;
  put16(bytes, sport);
  put16(bytes, dport);
  put32(bytes, 1);
  put32(bytes, (flags & kAck) != 0 ? 2 : 0);
  bytes.push_back(0x50);
  bytes.push_back(flags);
  put16(bytes, 1024);
  put32(bytes, 0);
  fill(bytes, payload);
  return bytes;
}

Bytes udp(std::uint16_t sport, std::uint16_t dport, std::size_t payload) {
  Bytes bytes;
  put16(bytes, sport);
  put16(bytes, dport);
  put16(bytes, 8 + payload);
  put16(bytes, 0);
  fill(bytes, payload);
  return bytes;
}

Bytes sctp(std::uint16_t sport, std::uint16_t dport) {
  Bytes bytes;
  put16(bytes, sport);
  put16(bytes, dport);
  put32(bytes, 7);
  put32(bytes, 0);
  fill(bytes, 16);
  return bytes;
}

Bytes icmp(std::uint8_t type, std::uint8_t code, std::uint16_t identifier,
           std::size_t payload) {
  Bytes bytes = {type, code, 0, 0};
  put16(bytes, identifier);
  put16(bytes, 1);
  fill(bytes, payload);
  return bytes;
}

Bytes ethernet(std::uint16_t ethertype, const Bytes& payload) {
  Bytes bytes = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
  put16(bytes, ethertype);
  append(bytes, payload);
  return bytes;
}

Bytes ip_frame(const Endpoints& ends, std::uint8_t protocol,
               const Bytes& transport, const IpOptions& options) {
  const bool v6 = ends.from.v6;
  Bytes frame = ethernet(v6 ? 0x86dd : 0x0800,
                         v6 ? ipv6(ends, protocol, transport, options)
                            : ipv4(ends, protocol, transport, options));
  frame.insert(frame.end(), options.padding, 0);
  return frame;
}

Bytes without_ethernet(const Bytes& frame) {
  return {frame.begin() + kEthernetSize, frame.end()};
}

Bytes icmp_error(const Endpoints& ends, std::uint8_t type, std::uint8_t code,
                 const Bytes& frame, std::size_t quoted) {
  Bytes body = {type, code, 0, 0, 0, 0, 0, 0};
  Bytes packet = without_ethernet(frame);
  packet.resize(std::min(packet.size(), quoted));
  append(body, packet);
  return ip_frame(ends, ends.from.v6 ? kIcmp6 : kIcmp, body);
}

}  // namespace sluice::packet

namespace sluice::cli {
namespace {

packet::Bytes transport_of(const PacketSpec& spec) {
  switch (spec.protocol) {
    case packet::kTcp:
      return packet::tcp(spec.number, spec.port);
    case packet::kUdp:
      return packet::udp(spec.number, spec.port);
    case packet::kSctp:
      return packet::sctp(spec.number, spec.port);
    case packet::kIcmp:
    case packet::kIcmp6:
      return packet::icmp(static_cast<std::uint8_t>(spec.port >> 8),
                          static_cast<std::uint8_t>(spec.port), spec.number);
    default:
      return packet::Bytes(32);
  }
}

}  // namespace

std::optional<packet::Bytes> first_packet(const PacketSpec& spec) {
  const bool v6 = spec.from.v6;
  if (v6 != spec.to.v6 || (spec.protocol == packet::kIcmp && v6) ||
      (spec.protocol == packet::kIcmp6 && !v6)) {
    return std::nullopt;
  }
  return packet::ip_frame({.from = spec.from, .to = spec.to}, spec.protocol,
                          transport_of(spec));
}

}  // namespace sluice::cli
