// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "lib/base/ip.h"
#include "tests/reference/generator_pools.h"

namespace sluice::reference {

std::string random_cidr(Random& random, bool v6, bool host_bits) {
  static constexpr std::array kV4{
      "0.0.0.0/0",       "10.0.0.0/8",      "10.100.0.0/16",
      "10.100.0.4/30",   "10.100.0.6/32",   "192.168.0.0/24",
      "192.168.0.10/32", "203.0.113.0/24",  "203.0.113.128/25",
      "203.0.113.7/32",  "203.0.113.96/29", "198.51.100.0/22"};
  static constexpr std::array kV6{
      "::/0",     "2001:db8::/32", "2001:db8::/48",   "2001:db8::7/128",
      "fd00::/8", "fd00:100::/64", "fd00:100::6/128", "fd00:10::/64"};
  const bool six = v6 && random.percent(30);
  const char* cidr = six ? random.pick(kV6) : random.pick(kV4);
  if (random.percent(50)) {
    return cidr;
  }
  const auto prefix = *parse_prefix(cidr);
  const int length = random.between(prefix.length / 2, prefix.address.bits());
  if (host_bits && random.percent(50)) {
    return to_string(prefix.address) + "/" + std::to_string(length);
  }
  return to_string(make_prefix(prefix.address, length));
}

std::string random_hole(Random& random, const std::string& cidr) {
  const auto prefix = *parse_prefix(cidr);
  const int bits = prefix.address.bits();
  if (prefix.length == bits) {
    return {};
  }
  const int length = random.percent(50)
                         ? prefix.length + 1
                         : random.between(prefix.length + 1, bits);
  IpAddress address = prefix.address;
  // Keep the address that other prefixes share, or go to another part.
  if (random.percent(60)) {
    for (int bit = prefix.length; bit < length; ++bit) {
      if (random.percent(50)) {
        address.bytes[bit / 8] |= static_cast<std::uint8_t>(0x80 >> (bit % 8));
      }
    }
  }
  return to_string(make_prefix(address, length));
}

}  // namespace sluice::reference
