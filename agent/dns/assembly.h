// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <span>
#include <tuple>
#include <vector>

#include "agent/dns/frame.h"
#include "agent/dns/tcp_stream.h"
#include "lib/base/ip.h"

namespace sluice::agent {

// A DNS message, and the packet or stream that it came in.
struct DnsMessage {
  DnsFlow flow;
  std::vector<std::byte> bytes;
};

// Puts the DNS messages together that one endpoint receives in several packets:
// fragments of UDP datagrams and segments of TCP streams. Bounded: a few
// messages at a time, the one begun first makes room; an endpoint that begins
// more loses its own. Pure: no clock (seconds of CLOCK_MONOTONIC). One thread.
class Assembly {
 public:
  // Takes a packet and returns the messages that it completes; none if it
  // cannot be read. `begins`: a TCP segment at the beginning of a message.
  std::vector<DnsMessage> add(std::span<const std::byte> frame, bool begins,
                              std::uint32_t now);
  // Bytes of what is not whole yet.
  [[nodiscard]] std::size_t size() const;
  // The time of the last packet.
  [[nodiscard]] std::uint32_t last() const { return last_; }

 private:
  using Key = std::tuple<IpAddress, IpAddress, std::uint32_t>;
  struct Datagram {
    Key key;
    std::uint32_t begun = 0;
    // By offset; they do not overlap.
    std::map<std::size_t, std::vector<std::byte>> parts;
    std::size_t bytes = 0;  // of all parts
    std::size_t size = 0;   // 0: the last fragment has not come
  };

  Datagram& datagram_of(const Key& key, std::uint32_t now);
  std::vector<DnsMessage> add(const DnsFragment& fragment, std::uint32_t now);

  // RFC 5722, 3: a datagram with fragments that overlap is dropped. One that is
  // sent again is none of these.
  static bool overlaps(const Datagram& datagram, const DnsFragment& fragment);

  static constexpr std::size_t kAtOnce = 4;
  TcpStreams streams_{kAtOnce};
  std::list<Datagram> datagrams_;  // the one begun last is the last
  std::uint32_t last_ = 0;
};

}  // namespace sluice::agent
