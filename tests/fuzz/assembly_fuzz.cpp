// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include <netinet/in.h>

#include "agent/dns/assembly.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/agent/dns/frames.h"

// Bytes as packets with parts of DNS messages. The first byte says which:
// datagrams in fragments and a TCP stream in segments, each in any order and
// with parts that come twice, which have to give the messages that were cut; or
// frames with whatever is in them. None of them makes the assembly keep more
// than it may, or gives more than was put in.
namespace {

using sluice::agent::Assembly;
using sluice::agent::Bytes;
using sluice::fuzz::check;

// A stream of one message of the largest size.
constexpr std::size_t kLargest = 65535 + 2;
// Four datagrams, and four streams with as much again that came early.
constexpr std::size_t kAtOnce = 4;
constexpr std::size_t kMayKeep = kAtOnce * (65535 + kLargest + kLargest);

class Input {
 public:
  explicit Input(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  [[nodiscard]] bool empty() const { return bytes_.empty(); }
  // 0 at the end.
  unsigned byte() {
    if (bytes_.empty()) {
      return 0;
    }
    const unsigned result = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return result;
  }
  unsigned u16() {
    const unsigned high = byte();
    return high << 8U | byte();
  }
  std::uint32_t u32() {
    const std::uint32_t high = u16();
    return high << 16U | u16();
  }
  Bytes take(std::size_t size) {
    const auto part = bytes_.first(std::min(size, bytes_.size()));
    bytes_ = bytes_.subspan(part.size());
    return {part.begin(), part.end()};
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

// No two parts of it are alike.
Bytes content(std::size_t size, unsigned salt) {
  Bytes result(size);
  std::uint32_t state = salt + 1;
  for (auto& byte : result) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<std::uint8_t>(state >> 24U);
  }
  return result;
}

Bytes packet(bool v6, unsigned protocol, const Bytes& payload) {
  return v6 ? sluice::agent::ipv6(protocol, payload)
            : sluice::agent::ipv4(protocol, payload);
}

// The assembly, with what holds for every packet.
class Checked {
 public:
  std::vector<Bytes> add(const Bytes& frame, bool begins = false,
                         std::uint32_t now = 0) {
    std::vector<Bytes> result;
    added_ += frame.size();
    for (const auto& message :
         assembly_.add(sluice::agent::as_bytes(frame), begins, now)) {
      given_ += message.bytes.size();
      auto& copy = result.emplace_back();
      for (const auto byte : message.bytes) {
        copy.push_back(std::to_integer<std::uint8_t>(byte));
      }
    }
    check(assembly_.size() <= kMayKeep, "what is kept is bounded");
    check(given_ + assembly_.size() <= added_, "nothing is made of nothing");
    return result;
  }
  [[nodiscard]] std::size_t size() const { return assembly_.size(); }

 private:
  Assembly assembly_;
  std::size_t added_ = 0;
  std::size_t given_ = 0;
};

// ---- fragments ----

struct Datagram {
  Bytes message;
  std::vector<Bytes> fragments;
  std::set<std::size_t> missing;

  void miss_all() {
    for (std::size_t i = 0; i < fragments.size(); ++i) {
      missing.insert(i);
    }
  }
};

Datagram cut_datagram(Input& input, bool v6, unsigned id) {
  Datagram result;
  result.message = content(9 + (input.u16() % 8000), id);
  const Bytes whole =
      packet(v6, IPPROTO_UDP, sluice::agent::udp(result.message));
  const std::size_t size = result.message.size() + 8;
  for (std::size_t at = 0; at < size;) {
    // More than one, because a packet that is whole is no fragment.
    const std::size_t wanted = 8 * (1 + std::size_t{input.byte()});
    const std::size_t most = at == 0 ? (size - 1) / 8 * 8 : size - at;
    const std::size_t length = std::min(wanted, most);
    result.fragments.push_back(sluice::agent::fragment(whole, at, length, id));
    at += length;
  }
  result.miss_all();
  return result;
}

// As many datagrams at a time as there is room for.
void fragments_in_any_order(Input& input, bool v6) {
  std::vector<Datagram> datagrams;
  for (unsigned id = 0; id <= input.byte() % 4; ++id) {
    datagrams.push_back(cut_datagram(input, v6, id));
  }
  Checked assembly;
  const auto send = [&](Datagram& datagram, std::size_t part) {
    datagram.missing.erase(part);
    const auto given = assembly.add(datagram.fragments[part]);
    const bool whole = datagram.missing.empty();
    check(given.size() == (whole ? 1U : 0U),
          "a datagram is whole with its last part");
    if (whole) {
      check(given[0] == datagram.message, "it is the one that was cut");
      datagram.miss_all();
    }
  };
  while (!input.empty()) {
    Datagram& datagram = datagrams[input.byte() % datagrams.size()];
    send(datagram, input.u16() % datagram.fragments.size());
  }
  for (auto& datagram : datagrams) {
    const auto missing = datagram.missing;
    for (const std::size_t part : missing) {
      send(datagram, part);
    }
  }
  check(assembly.size() == 0, "nothing is left of what was given");
}

// ---- segments ----

class Stream {
 public:
  Stream(Input& input, bool v6) : v6_(v6), sequence_(input.u32()) {
    for (unsigned i = 0; i <= input.byte() % 4; ++i) {
      const std::size_t size = input.u16() % 4000;
      messages_.push_back(content(size, i));
      sluice::agent::add(bytes_, {static_cast<unsigned>(size >> 8U),
                                  static_cast<unsigned>(size)});
      sluice::agent::add(bytes_, messages_.back());
      ends_.push_back(bytes_.size());
    }
    arrived_.resize(bytes_.size());
  }

  // What makes the stream known: its handshake, or the agent's being told that
  // it begins.
  void begin(Input& input) {
    if (input.byte() % 2 == 0) {
      send(0, 0, sequence_ - 1, 0x12);
    } else {
      begins_ = true;
      send(0, 1 + (input.u16() % bytes_.size()));
      begins_ = false;
    }
  }

  void send(std::size_t from, std::size_t size) {
    const std::size_t to = std::min(from + size, bytes_.size());
    std::fill(arrived_.begin() + static_cast<std::ptrdiff_t>(from),
              arrived_.begin() + static_cast<std::ptrdiff_t>(to), true);
    send(from, to, sequence_ + static_cast<std::uint32_t>(from), 0x18);
  }

  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] std::size_t kept() const { return assembly_.size(); }
  [[nodiscard]] bool is_complete() const { return given_ == messages_.size(); }

 private:
  void send(std::size_t from, std::size_t to, std::uint32_t sequence,
            unsigned flags) {
    const Bytes part(bytes_.begin() + static_cast<std::ptrdiff_t>(from),
                     bytes_.begin() + static_cast<std::ptrdiff_t>(to));
    const auto given = assembly_.add(
        packet(v6_, IPPROTO_TCP, sluice::agent::tcp(part, flags, 0, sequence)),
        begins_);
    const auto in_order = static_cast<std::size_t>(
        std::ranges::find(arrived_, false) - arrived_.begin());
    std::size_t expected = given_;
    while (expected < ends_.size() && ends_[expected] <= in_order) {
      ++expected;
    }
    check(given.size() == expected - given_,
          "a message is given when all before its end has arrived");
    for (const Bytes& message : given) {
      check(message == messages_[given_++], "they are those that were sent");
    }
  }

  bool v6_;
  std::uint32_t sequence_;
  std::vector<Bytes> messages_;
  Bytes bytes_;
  std::vector<std::size_t> ends_;  // of messages
  std::vector<bool> arrived_;
  std::size_t given_ = 0;  // messages
  bool begins_ = false;
  Checked assembly_;
};

// Any ranges of the stream, then all of it.
void segments_in_any_order(Input& input, bool v6) {
  Stream stream(input, v6);
  stream.begin(input);
  std::size_t sent = 0;
  // More than a message of what comes early may end a stream.
  while (!input.empty() && sent + 4096 + stream.size() <= kLargest) {
    const std::size_t from = input.u16() % stream.size();
    const std::size_t size = 1 + (input.u16() % 4096);
    stream.send(from, size);
    sent += size;
  }
  stream.send(0, stream.size());
  check(stream.is_complete(), "a stream that has arrived is given");
  check(stream.kept() == 0, "nothing is left of what was given");
}

// ---- whatever there is ----

Bytes any_segment(Input& input, bool v6, const Bytes& payload) {
  const unsigned flags = input.byte();
  // Near each other, or anywhere.
  const std::uint32_t sequence =
      input.byte() % 2 == 0 ? input.u16() : input.u32();
  return packet(v6, IPPROTO_TCP,
                sluice::agent::tcp(payload, flags, 0, sequence));
}

Bytes any_fragment(Input& input, bool v6, const Bytes& payload) {
  const Bytes whole = packet(v6, IPPROTO_UDP, sluice::agent::udp(payload));
  const std::size_t size = payload.size() + 8;
  const std::size_t at = std::min(std::size_t{8} * input.byte(), size);
  const std::size_t length = std::min<std::size_t>(input.u16(), size - at);
  return sluice::agent::fragment(whole, at, length, input.byte() % 8);
}

// Bytes of the input, or a frame some of whose bytes are changed.
Bytes any_frame(Input& input, bool v6) {
  const unsigned kind = input.byte();
  const unsigned size = input.u16();
  if (kind % 4 == 0) {
    return input.take(size % 200);
  }
  const Bytes payload = content(size % 3000, kind);
  Bytes frame = packet(v6, IPPROTO_UDP, sluice::agent::udp(payload));
  if (kind % 4 == 1) {
    frame = any_segment(input, v6, payload);
  } else if (kind % 4 == 2) {
    frame = any_fragment(input, v6, payload);
  }
  for (unsigned changes = kind >> 5U; changes > 0; --changes) {
    const std::size_t at =
        input.byte() % std::min<std::size_t>(frame.size(), 80);
    frame[at] = static_cast<std::uint8_t>(input.byte());
  }
  return frame;
}

void any_frames(Input& input, bool v6) {
  Checked assembly;
  std::uint32_t now = 0;
  while (!input.empty()) {
    const unsigned how = input.byte();
    now += how >> 4U;
    assembly.add(any_frame(input, v6), how % 2 != 0, now);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  Input input({data, size});
  const unsigned what = input.byte();
  const bool v6 = what % 2 != 0;
  switch (what / 2 % 3) {
    case 0:
      fragments_in_any_order(input, v6);
      break;
    case 1:
      segments_in_any_order(input, v6);
      break;
    default:
      any_frames(input, v6);
  }
  return 0;
}
