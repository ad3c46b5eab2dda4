// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <vector>

#include "agent/dns/frame.h"

namespace sluice::agent {

// Puts the DNS messages of TCP flows together from segments, in one direction
// of each flow. Segments may come in any order and more than once.
//
// Only a flow whose beginning is known gives messages. Otherwise, whoever owns
// a name that a pod asks for could have an answer with text that looks like an
// answer about other names, at the beginning of a segment.
//
// Bounded: a flow has at most one message of the largest size and as many bytes
// that came early. One with more gives nothing until it begins again. When
// there are too many flows, the one that was silent for the longest time is
// forgotten. Pure. One thread.
class TcpStreams {
 public:
  using Message = std::vector<std::byte>;

  // `capacity`: flows, at least 1.
  explicit TcpStreams(std::size_t capacity)
      : capacity_(capacity == 0 ? 1 : capacity) {}

  // A message begins at this sequence number. A segment with SYN says the same
  // of the number behind its own.
  void begin(const DnsFlow& flow, std::uint32_t sequence);
  // Takes a segment and returns the messages that it completes, without their
  // lengths in front.
  std::vector<Message> add(const DnsFrame& segment);
  [[nodiscard]] std::size_t flows() const { return flows_.size(); }
  // Bytes of messages that are not whole yet.
  [[nodiscard]] std::size_t size() const;

 private:
  using Order = std::list<DnsFlow>;
  struct Stream {
    std::uint32_t next = 0;        // sequence number of what comes next
    std::vector<std::byte> begun;  // of a message, with its length
    std::map<std::uint32_t, Message> early;  // by sequence number
    std::size_t early_bytes = 0;
    std::optional<std::uint32_t> end;  // behind the last byte
    Order::iterator place;
  };

  // False if the stream has no room for it.
  static bool keep(Stream& stream, const DnsFrame& segment,
                   std::uint32_t first);
  static void take_early(Stream& stream, std::vector<Message>& out);
  void forget(const DnsFlow& flow);

  std::size_t capacity_;
  std::map<DnsFlow, Stream> flows_;
  Order order_;  // the one heard last is the last
};

}  // namespace sluice::agent
