// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/dns/packet.h"

#include <algorithm>
#include <optional>
#include <stdexcept>

namespace sluice::dns::test {
namespace {

constexpr unsigned kA = 1;
constexpr unsigned kCname = 5;
constexpr unsigned kAaaa = 28;
constexpr std::size_t kHeader = 12;

std::size_t below(std::mt19937& random, std::size_t limit) {
  return random() % limit;
}

// Throws std::out_of_range where the message ends.
class Parser {
 public:
  Parser(const Bytes& message, const Limits& limits)
      : bytes_(message), limits_(limits) {}

  [[nodiscard]] unsigned u8(std::size_t at) const { return bytes_.at(at); }
  [[nodiscard]] unsigned u16(std::size_t at) const {
    return (u8(at) << 8U) + u8(at + 1);
  }
  [[nodiscard]] std::uint32_t u32(std::size_t at) const {
    return (static_cast<std::uint32_t>(u16(at)) << 16U) + u16(at + 2);
  }

  // The name at `at`, which moves behind it. nullopt: damaged.
  [[nodiscard]] std::optional<std::string> name(std::size_t& at) const {
    std::string wire;
    std::optional<std::size_t> end;
    std::size_t here = at;
    std::size_t begin = at;
    for (std::size_t pointers = 0; pointers <= limits_.pointers;) {
      const unsigned length = u8(here);
      if (length >= 0xc0) {
        const std::size_t target = u16(here) & 0x3fffU;
        end = end.value_or(here + 2);
        if (target >= begin || target < kHeader) {
          return std::nullopt;
        }
        here = begin = target;
        ++pointers;
        continue;
      }
      if (length > 63) {
        return std::nullopt;
      }
      for (std::size_t i = 0; i <= length; ++i) {
        const auto c = static_cast<char>(u8(here + i));
        const bool upper = i > 0 && c >= 'A' && c <= 'Z';
        wire += static_cast<char>(c + (upper ? 'a' - 'A' : 0));
      }
      here += length + 1;
      if (length == 0) {
        at = end.value_or(here);
        return wire.size() > 255 ? std::nullopt : std::optional(wire);
      }
    }
    return std::nullopt;
  }

  bool read(Reading& out) const {
    if (bytes_.size() > limits_.bytes || (u16(2) & 0x7800U) != 0 ||
        u16(4) != 1) {
      return false;
    }
    std::size_t at = kHeader;
    const auto question = name(at);
    static_cast<void>(u32(at));  // type and class are there
    at += 4;
    if (!question || u16(6) > limits_.records) {
      return false;
    }
    out.names.push_back(*question);
    for (unsigned left = u16(6); left > 0; --left) {
      if (!record(at, out)) {
        return false;
      }
    }
    return true;
  }

 private:
  bool record(std::size_t& at, Reading& out) const {
    const auto owner = name(at);
    if (!owner) {
      return false;
    }
    const unsigned type = u16(at);
    const bool internet = u16(at + 2) == 1;
    const std::uint32_t ttl = u32(at + 4);
    const std::size_t size = u16(at + 8);
    const std::size_t data = at + 10;
    at = data + size;
    if (at > bytes_.size()) {
      return false;
    }
    const auto found = std::ranges::find(out.names, *owner);
    if (!internet || found == out.names.end()) {
      return true;
    }
    const auto number = static_cast<std::size_t>(found - out.names.begin()) + 1;
    if (type == kCname) {
      return cname(data, at, number, out);
    }
    if (type != kA && type != kAaaa) {
      return true;
    }
    if (size != (type == kA ? 4U : 16U)) {
      return false;
    }
    Address address{.ttl = ttl > 0x7fffffffU ? 0 : ttl,
                    .v6 = type == kAaaa,
                    .names = number};
    for (std::size_t i = 0; i < size; ++i) {
      address.bytes.at(i) = static_cast<std::uint8_t>(u8(data + i));
    }
    out.addresses.push_back(address);
    return true;
  }

  bool cname(std::size_t data, std::size_t end, std::size_t owner,
             Reading& out) const {
    const auto target = name(data);
    if (!target || data != end) {
      return false;
    }
    if (owner == out.names.size() &&
        std::ranges::find(out.names, *target) == out.names.end()) {
      out.names.push_back(*target);
    }
    return out.names.size() <= limits_.names;
  }

  const Bytes& bytes_;
  const Limits& limits_;
};

std::string random_name(std::mt19937& random) {
  static constexpr std::array<const char*, 6> kNames{
      "api.example.com",
      "API.example.com",
      "cdn.Example.net",
      "x",
      "a.very.long.chain.of.many.labels.in.one.name.example.org",
      "e1234567890123456789012345678901234567890.akamai-edge.net"};
  const std::string name = kNames.at(below(random, kNames.size()));
  return below(random, 3) == 0
             ? "n" + std::to_string(below(random, 20)) + "." + name
             : name;
}

Bytes random_bytes(std::mt19937& random, std::size_t size) {
  Bytes result(size);
  std::ranges::generate(result,
                        [&] { return static_cast<std::uint8_t>(random()); });
  return result;
}

}  // namespace

Writer::Writer(std::uint16_t flags, std::uint16_t answers) {
  u16(0x1234).u16(flags).u16(1).u16(answers).u16(0).u16(0);
}

Writer& Writer::u16(unsigned value) {
  bytes.push_back(static_cast<std::uint8_t>(value >> 8U));
  bytes.push_back(static_cast<std::uint8_t>(value));
  return *this;
}

Writer& Writer::name(const std::string& text, bool compress) {
  std::string rest = text;
  while (!rest.empty()) {
    const auto found = known_.find(rest);
    if (compress && found != known_.end()) {
      return u16(0xc000U + static_cast<unsigned>(found->second));
    }
    if (bytes.size() < 0x3fff) {
      known_.emplace(rest, bytes.size());
    }
    const std::size_t dot = rest.find('.');
    const std::string label = rest.substr(0, dot);
    bytes.push_back(static_cast<std::uint8_t>(label.size()));
    bytes.insert(bytes.end(), label.begin(), label.end());
    rest = dot == std::string::npos ? "" : rest.substr(dot + 1);
  }
  bytes.push_back(0);
  return *this;
}

Writer& Writer::question(const std::string& name_text, unsigned type) {
  return name(name_text).u16(type).u16(1);
}

Writer& Writer::record(const std::string& owner, unsigned type,
                       std::uint32_t ttl, const Bytes& data, bool compress) {
  name(owner, compress).u16(type).u16(1).u16(ttl >> 16U).u16(ttl & 0xffffU);
  u16(static_cast<unsigned>(data.size()));
  bytes.insert(bytes.end(), data.begin(), data.end());
  return *this;
}

Writer& Writer::cname(const std::string& owner, std::uint32_t ttl,
                      const std::string& target, bool compress) {
  record(owner, kCname, ttl, {}, compress);
  const std::size_t begin = bytes.size();
  name(target, compress);
  const std::size_t size = bytes.size() - begin;
  bytes[begin - 2] = static_cast<std::uint8_t>(size >> 8U);
  bytes[begin - 1] = static_cast<std::uint8_t>(size);
  return *this;
}

Bytes random_response(std::mt19937& random) {
  const std::size_t chain = below(random, 3) == 0 ? below(random, 18) : 0;
  const std::size_t addresses =
      below(random, 20) == 0 ? below(random, 140) : below(random, 10);
  const bool compress = below(random, 4) != 0;
  Writer writer(0x8180, static_cast<std::uint16_t>(chain + addresses));
  std::string owner = random_name(random);
  const std::string first = owner;
  writer.question(owner);
  for (std::size_t i = 0; i < chain; ++i) {
    const std::string target = random_name(random);
    writer.cname(below(random, 15) == 0 ? first : owner, 60, target, compress);
    owner = target;
  }
  for (std::size_t i = 0; i < addresses; ++i) {
    const unsigned type = below(random, 3) == 0 ? kAaaa : kA;
    const std::size_t odd = below(random, 60);
    writer.record(odd == 0 ? random_name(random) : owner, odd == 1 ? 16 : type,
                  odd == 2 ? 0x80000000U : static_cast<std::uint32_t>(i),
                  random_bytes(random, type == kA ? 4 : 16), compress);
  }
  return writer.bytes;
}

void damage(Bytes& message, std::mt19937& random) {
  for (std::size_t left = 1 + below(random, 3); left > 0; --left) {
    const std::size_t at = below(random, message.size());
    switch (below(random, 5)) {
      case 0:
        message.resize(at + 1);
        break;
      case 1:
        message.insert(message.begin() + static_cast<std::ptrdiff_t>(at),
                       static_cast<std::uint8_t>(random()));
        break;
      case 2:
        message[at] = 0xc0;
        break;
      case 3:
        message[at] = static_cast<std::uint8_t>(message[at] + 1);
        break;
      default:
        message[at] = static_cast<std::uint8_t>(random());
    }
  }
}

Reading read_simply(const Bytes& message, const Limits& limits) {
  Reading result;
  try {
    result.complete = Parser(message, limits).read(result);
  } catch (const std::out_of_range&) {
    result.complete = false;
  }
  return result;
}

}  // namespace sluice::dns::test
