// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include <netinet/in.h>

// Frames that carry DNS, from 10.96.0.10 or fd00::a, port 53, to 10.0.0.1 or
// fd00::1, port 4660.
namespace sluice::agent {

using Bytes = std::vector<std::uint8_t>;

inline constexpr std::size_t kEthernet = 14;

inline void add(Bytes& bytes, std::initializer_list<unsigned> more) {
  for (const unsigned b : more) {
    bytes.push_back(static_cast<std::uint8_t>(b));
  }
}

inline void add(Bytes& bytes, const Bytes& more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

inline std::span<const std::byte> as_bytes(const Bytes& bytes) {
  return std::as_bytes(std::span(bytes));
}

inline std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline const Bytes kMessage{'h', 'e', 'l', 'l', 'o'};

// Source port 53, destination port 4660.
inline Bytes udp(const Bytes& payload) {
  Bytes result{0, 53, 0x12, 0x34};
  const auto size = static_cast<unsigned>(payload.size()) + 8;
  add(result, {size >> 8U, size, 0, 0});
  add(result, payload);
  return result;
}

inline Bytes tcp(const Bytes& payload, unsigned flags, std::size_t options = 0,
                 std::uint32_t sequence = 0x80000001U) {
  Bytes result{0, 53, 0x12, 0x34};
  add(result,
      {sequence >> 24U, sequence >> 16U, sequence >> 8U, sequence, 0, 0, 0, 0});
  add(result, {static_cast<unsigned>(5 + (options / 4)) << 4U, flags, 0xff,
               0xff, 0, 0, 0, 0});
  result.resize(result.size() + options, 1);
  add(result, payload);
  return result;
}

inline Bytes ipv4(unsigned protocol, const Bytes& payload,
                  std::size_t options = 0) {
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

// A fragment of what is in the packet, `size` bytes from `offset` on. Of the
// payload of IPv6, without extension headers.
inline Bytes fragment(const Bytes& frame, std::size_t offset, std::size_t size,
                      unsigned id = 7) {
  const bool v6 = frame[kEthernet] >> 4U == 6;
  const std::size_t head = kEthernet + (v6 ? 40 : 20);
  const bool more = head + offset + size < frame.size();
  Bytes result(frame.begin(),
               frame.begin() + static_cast<std::ptrdiff_t>(head));
  const auto place = static_cast<unsigned>(offset);
  if (v6) {
    const auto length = static_cast<unsigned>(size) + 8;
    result[kEthernet + 4] = static_cast<std::uint8_t>(length >> 8U);
    result[kEthernet + 5] = static_cast<std::uint8_t>(length);
    add(result, {result[kEthernet + 6], 0, place >> 8U,
                 (place & 0xf8U) | (more ? 1U : 0U), 0, 0, 0, id});
    result[kEthernet + 6] = IPPROTO_FRAGMENT;
  } else {
    const auto length = static_cast<unsigned>(size) + 20;
    result[kEthernet + 2] = static_cast<std::uint8_t>(length >> 8U);
    result[kEthernet + 3] = static_cast<std::uint8_t>(length);
    result[kEthernet + 5] = static_cast<std::uint8_t>(id);
    result[kEthernet + 6] =
        static_cast<std::uint8_t>((more ? 0x20U : 0U) | place >> 11U);
    result[kEthernet + 7] = static_cast<std::uint8_t>(place >> 3U);
  }
  const auto begin = frame.begin() + static_cast<std::ptrdiff_t>(head + offset);
  result.insert(result.end(), begin, begin + static_cast<std::ptrdiff_t>(size));
  return result;
}

inline Bytes ipv6(unsigned next, const Bytes& payload) {
  Bytes result(12, 2);
  const auto size = static_cast<unsigned>(payload.size());
  add(result, {0x86, 0xdd, 0x60, 0, 0, 0, size >> 8U, size, next, 64});
  add(result, Bytes{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10});
  add(result, Bytes{0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1});
  add(result, payload);
  return result;
}

}  // namespace sluice::agent
