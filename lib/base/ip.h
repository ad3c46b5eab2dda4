// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace sluice {

// An IPv4 or IPv6 address. Bytes are in network order; an IPv4 address fills
// the first four and leaves the rest zero.
struct IpAddress {
  std::array<std::uint8_t, 16> bytes{};
  bool v6 = false;

  [[nodiscard]] int bits() const { return v6 ? 128 : 32; }
  // Bit 0 is the most significant one.
  [[nodiscard]] bool bit(int index) const {
    return ((bytes[index / 8] >> (7 - index % 8)) & 1) != 0;
  }
  auto operator<=>(const IpAddress&) const = default;
};

// An address prefix; host bits are zero.
struct IpPrefix {
  IpAddress address;
  int length = 0;

  [[nodiscard]] bool contains(const IpAddress& other) const;
  // True if every address of `other` is in this prefix.
  [[nodiscard]] bool contains(const IpPrefix& other) const;
  auto operator<=>(const IpPrefix&) const = default;
};

// RFC 4291/dotted-quad text; an IPv4-mapped IPv6 address becomes IPv4.
// nullopt if it is not an address.
std::optional<IpAddress> parse_ip(std::string_view text);
struct IpAndPort {
  IpAddress address;
  std::uint16_t port = 0;
};
// "192.0.2.1:53" or "[2001:db8::1]:53". nullopt if it is neither.
std::optional<IpAndPort> parse_ip_and_port(std::string_view text);
// "address/length"; host bits are cleared. No bare addresses.
std::optional<IpPrefix> parse_prefix(std::string_view text);
// Clears the host bits of an address.
IpPrefix make_prefix(const IpAddress& address, int length);
// The prefix that has this address alone.
inline IpPrefix host_prefix(const IpAddress& address) {
  return {.address = address, .length = address.bits()};
}

bool is_loopback(const IpAddress& address);
// Of use on one link only: fe80::/10, 169.254.0.0/16.
bool is_link_local(const IpAddress& address);
// One host's beyond its link: not loopback, link-local, multicast, broadcast or
// unspecified.
bool is_global(const IpAddress& address);

std::string to_string(const IpAddress& address);
std::string to_string(const IpPrefix& prefix);

}  // namespace sluice

template <>
struct std::hash<sluice::IpAddress> {
  std::size_t operator()(const sluice::IpAddress& address) const noexcept;
};
template <>
struct std::hash<sluice::IpPrefix> {
  std::size_t operator()(const sluice::IpPrefix& prefix) const noexcept;
};
