// SPDX-License-Identifier: Apache-2.0
#include "lib/base/ip.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include <arpa/inet.h>

namespace sluice {
namespace {

bool same_bits(const IpAddress& a, const IpAddress& b, int count) {
  const int whole = count / 8;
  if (!std::equal(a.bytes.begin(), a.bytes.begin() + whole, b.bytes.begin())) {
    return false;
  }
  const int rest = count % 8;
  return rest == 0 || ((a.bytes[whole] ^ b.bytes[whole]) >> (8 - rest)) == 0;
}

bool is_v4_mapped(const std::array<std::uint8_t, 16>& bytes) {
  return std::all_of(bytes.begin(), bytes.begin() + 10,
                     [](std::uint8_t byte) { return byte == 0; }) &&
         bytes[10] == 0xff && bytes[11] == 0xff;
}

}  // namespace

bool IpPrefix::contains(const IpAddress& other) const {
  return address.v6 == other.v6 && same_bits(address, other, length);
}

bool IpPrefix::contains(const IpPrefix& other) const {
  return length <= other.length && contains(other.address);
}

std::optional<IpAddress> parse_ip(std::string_view text) {
  const std::string copy(text);
  IpAddress result;
  if (inet_pton(AF_INET, copy.c_str(), result.bytes.data()) == 1) {
    return copy.size() == std::strlen(copy.c_str()) ? std::optional(result)
                                                    : std::nullopt;
  }
  if (inet_pton(AF_INET6, copy.c_str(), result.bytes.data()) != 1 ||
      copy.size() != std::strlen(copy.c_str())) {
    return std::nullopt;
  }
  if (is_v4_mapped(result.bytes)) {
    IpAddress v4;
    std::copy_n(result.bytes.begin() + 12, 4, v4.bytes.begin());
    return v4;
  }
  result.v6 = true;
  return result;
}

std::optional<IpAndPort> parse_ip_and_port(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return std::nullopt;
  }
  auto host = text.substr(0, colon);
  const auto digits = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.contains(':')) {
    return std::nullopt;
  }
  const auto address = parse_ip(host);
  std::uint16_t port = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (!address || error != std::errc{} ||
      end != digits.data() + digits.size()) {
    return std::nullopt;
  }
  return IpAndPort{.address = *address, .port = port};
}

std::optional<IpPrefix> parse_prefix(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) {
    return std::nullopt;
  }
  const auto address = parse_ip(text.substr(0, slash));
  const auto digits = text.substr(slash + 1);
  if (!address || digits.empty() || digits.size() > 3 ||
      (digits.size() > 1 && digits.front() == '0')) {
    return std::nullopt;
  }
  int length = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (error != std::errc{} || end != digits.data() + digits.size() ||
      length < 0 || length > address->bits()) {
    return std::nullopt;
  }
  return make_prefix(*address, length);
}

IpPrefix make_prefix(const IpAddress& address, int length) {
  IpPrefix result{.address = address, .length = length};
  const int whole = length / 8;
  const int rest = length % 8;
  for (int i = whole + (rest != 0 ? 1 : 0); i < 16; ++i) {
    result.address.bytes[i] = 0;
  }
  if (rest != 0) {
    result.address.bytes[whole] &=
        static_cast<std::uint8_t>(0xff << (8 - rest));
  }
  return result;
}

bool is_loopback(const IpAddress& address) {
  static const auto v4 = *parse_prefix("127.0.0.0/8");
  static const auto v6 = *parse_prefix("::1/128");
  return v4.contains(address) || v6.contains(address);
}

bool is_link_local(const IpAddress& address) {
  static const auto v4 = *parse_prefix("169.254.0.0/16");
  static const auto v6 = *parse_prefix("fe80::/10");
  return v4.contains(address) || v6.contains(address);
}

bool is_global(const IpAddress& address) {
  static const auto this_network = *parse_prefix("0.0.0.0/8");
  static const auto multicast4 = *parse_prefix("224.0.0.0/3");  // and reserved
  static const auto unspecified6 = *parse_prefix("::/128");
  static const auto multicast6 = *parse_prefix("ff00::/8");
  return !is_loopback(address) && !is_link_local(address) &&
         !this_network.contains(address) && !multicast4.contains(address) &&
         !unspecified6.contains(address) && !multicast6.contains(address);
}

std::string to_string(const IpAddress& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(address.v6 ? AF_INET6 : AF_INET, address.bytes.data(), text.data(),
            text.size());
  return text.data();
}

std::string to_string(const IpPrefix& prefix) {
  return to_string(prefix.address) + "/" + std::to_string(prefix.length);
}

}  // namespace sluice

std::size_t std::hash<sluice::IpAddress>::operator()(
    const sluice::IpAddress& address) const noexcept {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  std::memcpy(&high, address.bytes.data(), 8);
  std::memcpy(&low, address.bytes.data() + 8, 8);
  std::uint64_t mixed =
      (high ^ (low * 0x9e3779b97f4a7c15ULL)) + (address.v6 ? 1U : 0U);
  mixed ^= mixed >> 32;
  mixed *= 0xd6e8feb86659fd93ULL;
  return mixed ^ (mixed >> 32);
}

std::size_t std::hash<sluice::IpPrefix>::operator()(
    const sluice::IpPrefix& prefix) const noexcept {
  return (std::hash<sluice::IpAddress>{}(prefix.address) * 31) +
         static_cast<std::size_t>(prefix.length);
}
