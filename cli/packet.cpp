// SPDX-License-Identifier: Apache-2.0
#include "cli/packet.h"

#include <linux/if_ether.h>

#include <netinet/in.h>

#include "cli/text.h"

namespace sluice::cli {
namespace {

constexpr std::size_t kPayloadBytes = 32;
constexpr std::uint8_t kHops = 64;
constexpr std::uint8_t kTcpSyn = 0x02;

class Writer {
 public:
  Writer& u8(unsigned value) {
    bytes_.push_back(static_cast<std::uint8_t>(value));
    return *this;
  }
  Writer& u16(unsigned value) { return u8(value >> 8).u8(value & 0xff); }
  Writer& u32(std::uint32_t value) {
    return u16(value >> 16).u16(value & 0xffff);
  }
  Writer& zeros(std::size_t count) {
    bytes_.resize(bytes_.size() + count);
    return *this;
  }
  Writer& address(const IpAddress& address) {
    bytes_.insert(bytes_.end(), address.bytes.begin(),
                  address.bytes.begin() + (address.v6 ? 16 : 4));
    return *this;
  }
  Writer& append(const std::vector<std::uint8_t>& other) {
    bytes_.insert(bytes_.end(), other.begin(), other.end());
    return *this;
  }
  [[nodiscard]] const std::vector<std::uint8_t>& bytes() const {
    return bytes_;
  }

 private:
  std::vector<std::uint8_t> bytes_;
};

void add_transport(Writer& out, const PacketSpec& spec) {
  switch (spec.protocol) {
    case IPPROTO_TCP:
      out.u16(spec.number).u16(spec.port).u32(1).u32(0);
      out.u8(5 << 4).u8(kTcpSyn).u16(65535).u32(0);
      break;
    case IPPROTO_UDP:
      out.u16(spec.number).u16(spec.port).u16(8 + kPayloadBytes).u16(0);
      break;
    case IPPROTO_SCTP:  // INIT
      out.u16(spec.number).u16(spec.port).u32(0).u32(0);
      out.u8(1).u8(0).u16(20).u32(spec.number).u32(65536).u16(1).u16(1).u32(1);
      break;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      out.u16(spec.port).u16(0).u16(spec.number).u16(1);
      break;
    default:
      break;
  }
  out.zeros(kPayloadBytes);
}

}  // namespace

std::optional<std::vector<std::uint8_t>> first_packet(const PacketSpec& spec) {
  const bool v6 = spec.from.v6;
  if (v6 != spec.to.v6 || (spec.protocol == IPPROTO_ICMP && v6) ||
      (spec.protocol == IPPROTO_ICMPV6 && !v6)) {
    return std::nullopt;
  }
  Writer transport;
  add_transport(transport, spec);
  const auto length = static_cast<unsigned>(transport.bytes().size());
  Writer frame;
  frame.zeros(2 * ETH_ALEN).u16(v6 ? ETH_P_IPV6 : ETH_P_IP);
  if (v6) {
    frame.u32(6U << 28).u16(length).u8(spec.protocol).u8(kHops);
  } else {
    frame.u8(0x45).u8(0).u16(20 + length).u16(spec.number).u16(0);
    frame.u8(kHops).u8(spec.protocol).u16(0);
  }
  frame.address(spec.from).address(spec.to).append(transport.bytes());
  return frame.bytes();
}

}  // namespace sluice::cli
