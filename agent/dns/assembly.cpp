// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/assembly.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include <netinet/in.h>

namespace sluice::agent {
namespace {

constexpr std::size_t kUdpHeader = 8;
constexpr std::size_t kLargestPacket = 65535;
// As the kernel's net.ipv4.ipfrag_time.
constexpr std::uint32_t kFragmentSeconds = 30;

unsigned u16(std::span<const std::byte> bytes, std::size_t at) {
  return std::to_integer<unsigned>(bytes[at]) << 8U |
         std::to_integer<unsigned>(bytes[at + 1]);
}

// The datagram's message, if it is whole.
std::optional<DnsMessage> read_datagram(
    const DnsFragment& fragment,
    const std::map<std::size_t, std::vector<std::byte>>& parts,
    std::size_t size) {
  std::vector<std::byte> all;
  for (const auto& [offset, bytes] : parts) {
    if (offset != all.size()) {
      return std::nullopt;
    }
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  if (all.size() != size || size < kUdpHeader || u16(all, 4) < kUdpHeader ||
      u16(all, 4) > size) {
    return std::nullopt;
  }
  const DnsFlow flow{
      .source = fragment.source,
      .destination = fragment.destination,
      .source_port = static_cast<std::uint16_t>(u16(all, 0)),
      .destination_port = static_cast<std::uint16_t>(u16(all, 2)),
      .protocol = IPPROTO_UDP};
  const auto payload = std::span(all).first(u16(all, 4)).subspan(kUdpHeader);
  return DnsMessage{.flow = flow, .bytes = {payload.begin(), payload.end()}};
}

}  // namespace

std::vector<DnsMessage> Assembly::add(std::span<const std::byte> frame,
                                      bool begins, std::uint32_t now) {
  last_ = now;
  const auto packet = read_frame(frame);
  if (!packet) {
    const auto fragment = read_fragment(frame);
    return fragment ? add(*fragment, now) : std::vector<DnsMessage>();
  }
  std::vector<DnsMessage> result;
  if (packet->flow.protocol == IPPROTO_UDP) {
    result.push_back(
        {.flow = packet->flow,
         .bytes = {packet->payload.begin(), packet->payload.end()}});
    return result;
  }
  if (begins) {
    streams_.begin(packet->flow, packet->sequence);
  }
  for (auto& bytes : streams_.add(*packet)) {
    result.push_back({.flow = packet->flow, .bytes = std::move(bytes)});
  }
  return result;
}

std::size_t Assembly::size() const {
  std::size_t size = streams_.size();
  for (const auto& datagram : datagrams_) {
    size += datagram.bytes;
  }
  return size;
}

Assembly::Datagram& Assembly::datagram_of(const Key& key, std::uint32_t now) {
  std::erase_if(datagrams_, [now](const Datagram& datagram) {
    return now - datagram.begun > kFragmentSeconds;
  });
  const auto known = std::ranges::find(datagrams_, key, &Datagram::key);
  if (known != datagrams_.end()) {
    return *known;
  }
  if (datagrams_.size() >= kAtOnce) {
    datagrams_.pop_front();
  }
  return datagrams_.emplace_back(
      Datagram{.key = key, .begun = now, .parts = {}});
}

bool Assembly::overlaps(const Datagram& datagram, const DnsFragment& fragment) {
  const std::size_t end = fragment.offset + fragment.payload.size();
  const auto next = datagram.parts.lower_bound(fragment.offset);
  if (next != datagram.parts.end() && next->first == fragment.offset) {
    return !std::ranges::equal(next->second, fragment.payload);
  }
  if (next != datagram.parts.end() && next->first < end) {
    return true;
  }
  if (next == datagram.parts.begin()) {
    return false;
  }
  const auto& [offset, bytes] = *std::prev(next);
  return offset + bytes.size() > fragment.offset;
}

std::vector<DnsMessage> Assembly::add(const DnsFragment& fragment,
                                      std::uint32_t now) {
  const Key key{fragment.source, fragment.destination, fragment.id};
  Datagram& datagram = datagram_of(key, now);
  const std::size_t end = fragment.offset + fragment.payload.size();
  const bool contradicts =
      fragment.last && datagram.size != 0 && datagram.size != end;
  const auto forget = [&] {
    std::erase_if(datagrams_,
                  [&](const Datagram& each) { return each.key == key; });
  };
  if (end > kLargestPacket || fragment.payload.empty() || contradicts ||
      overlaps(datagram, fragment)) {
    forget();
    return {};
  }
  if (fragment.last) {
    datagram.size = end;
  }
  if (datagram.parts
          .try_emplace(fragment.offset, fragment.payload.begin(),
                       fragment.payload.end())
          .second) {
    datagram.bytes += fragment.payload.size();
  }
  if (datagram.size == 0 || datagram.bytes < datagram.size) {
    return {};
  }
  auto message = read_datagram(fragment, datagram.parts, datagram.size);
  if (!message) {
    return {};
  }
  forget();
  std::vector<DnsMessage> result;
  result.push_back(std::move(*message));
  return result;
}

}  // namespace sluice::agent
