// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/tcp_stream.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

namespace sluice::agent {
namespace {

constexpr std::size_t kLength = 2;  // in front of every message
constexpr std::size_t kLargest = kLength + 65535;

// How far `b` is behind `a`, in the arithmetic of sequence numbers.
std::int32_t distance(std::uint32_t a, std::uint32_t b) {
  return static_cast<std::int32_t>(b - a);
}

// Segments that end further ahead are not kept.
constexpr std::size_t kAhead = 2 * kLargest;

// Takes the whole messages off the front of `bytes`.
void take_messages(std::vector<std::byte>& bytes,
                   std::vector<TcpStreams::Message>& out) {
  std::size_t at = 0;
  while (bytes.size() - at >= kLength) {
    const auto size = std::to_integer<std::size_t>(bytes[at]) << 8U |
                      std::to_integer<std::size_t>(bytes[at + 1]);
    if (bytes.size() - at - kLength < size) {
      break;
    }
    const auto begin =
        bytes.begin() + static_cast<std::ptrdiff_t>(at + kLength);
    out.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(size));
    at += kLength + size;
  }
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace

void TcpStreams::begin(const DnsFlow& flow, std::uint32_t sequence) {
  forget(flow);
  if (flows_.size() >= capacity_) {
    forget(DnsFlow(order_.front()));
  }
  Stream& stream = flows_[flow];
  order_.push_back(flow);
  stream.place = std::prev(order_.end());
  stream.next = sequence;
}

std::vector<TcpStreams::Message> TcpStreams::add(const DnsFrame& segment) {
  // With TCP Fast Open, a SYN carries data.
  const std::uint32_t first = segment.sequence + (segment.syn ? 1 : 0);
  if (segment.syn) {
    begin(segment.flow, first);
  }
  const auto found = flows_.find(segment.flow);
  if (found == flows_.end()) {
    return {};
  }
  Stream& stream = found->second;
  order_.splice(order_.end(), order_, stream.place);
  if (segment.end) {
    stream.end = first + static_cast<std::uint32_t>(segment.payload.size());
  }
  std::vector<Message> result;
  if (!keep(stream, segment, first)) {
    forget(segment.flow);
    return result;
  }
  take_early(stream, result);
  if (stream.end && distance(*stream.end, stream.next) >= 0) {
    forget(segment.flow);
  }
  return result;
}

bool TcpStreams::keep(Stream& stream, const DnsFrame& segment,
                      std::uint32_t first) {
  const auto& payload = segment.payload;
  const auto behind = first + static_cast<std::uint32_t>(payload.size());
  if (payload.empty() || distance(stream.next, behind) <= 0) {
    return true;  // nothing new
  }
  if (distance(stream.next, behind) > static_cast<std::int32_t>(kAhead)) {
    return false;
  }
  Message& kept = stream.early[first];
  if (kept.size() < payload.size()) {
    stream.early_bytes += payload.size() - kept.size();
    kept.assign(payload.begin(), payload.end());
  }
  return stream.early_bytes <= kLargest;
}

void TcpStreams::take_early(Stream& stream, std::vector<Message>& out) {
  while (!stream.early.empty()) {
    // The one that begins first, which need not have the least number. None
    // begins further behind than a segment is long.
    auto next = stream.early.lower_bound(stream.next -
                                         static_cast<std::uint32_t>(kAhead));
    if (next == stream.early.end()) {
      next = stream.early.begin();
    }
    const std::int32_t gap = distance(stream.next, next->first);
    if (gap > 0) {
      return;
    }
    const std::span bytes(next->second);
    const auto known = static_cast<std::size_t>(-std::int64_t{gap});
    if (known < bytes.size()) {
      const auto fresh = bytes.subspan(known);
      stream.begun.insert(stream.begun.end(), fresh.begin(), fresh.end());
      stream.next += static_cast<std::uint32_t>(fresh.size());
      take_messages(stream.begun, out);
    }
    stream.early_bytes -= bytes.size();
    stream.early.erase(next);
  }
}

std::size_t TcpStreams::size() const {
  std::size_t size = 0;
  for (const auto& [flow, stream] : flows_) {
    size += stream.begun.size() + stream.early_bytes;
  }
  return size;
}

void TcpStreams::forget(const DnsFlow& flow) {
  const auto found = flows_.find(flow);
  if (found != flows_.end()) {
    order_.erase(found->second.place);
    flows_.erase(found);
  }
}

}  // namespace sluice::agent
