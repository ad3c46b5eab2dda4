// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

// DNS messages for tests: made by a writer of their own, at random if wanted,
// and read by a parser that is as simple as possible and slow.
namespace sluice::dns::test {

using Bytes = std::vector<std::uint8_t>;

// Writes messages, names compressed or not.
class Writer {
 public:
  Writer(std::uint16_t flags, std::uint16_t answers);

  // Text without escapes. `compress`: its labels may be a pointer to an earlier
  // name's.
  Writer& name(const std::string& text, bool compress = true);
  Writer& u16(unsigned value);
  Writer& question(const std::string& name, unsigned type = 1);
  Writer& record(const std::string& owner, unsigned type, std::uint32_t ttl,
                 const Bytes& data, bool compress = true);
  Writer& cname(const std::string& owner, std::uint32_t ttl,
                const std::string& target, bool compress = true);

  Bytes bytes;

 private:
  std::map<std::string, std::size_t> known_;
};

// A response as CDNs, search domains and pools of addresses make them, and
// sometimes one that is odd.
Bytes random_response(std::mt19937& random);
// Changes, cuts or extends the message a little.
void damage(Bytes& message, std::mt19937& random);

struct Address {
  std::array<std::uint8_t, 16> bytes{};
  std::uint32_t ttl = 0;
  bool v6 = false;
  std::size_t names = 0;
  auto operator<=>(const Address&) const = default;
};

struct Reading {
  bool complete = false;           // nothing is damaged or too large
  std::vector<std::string> names;  // lower case, wire form
  std::vector<Address> addresses;
};

struct Limits {
  std::size_t bytes;
  std::size_t records;
  std::size_t names;
  std::size_t pointers;  // of a name
};

Reading read_simply(const Bytes& message, const Limits& limits);

}  // namespace sluice::dns::test
