// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/event.h"

#include <algorithm>
#include <cstring>

namespace sluice::agent {

std::optional<DnsEvent> read_event(std::span<const std::byte> bytes) {
  DnsEvent event;
  if (bytes.size() < sizeof(event.head)) {
    return std::nullopt;
  }
  std::memcpy(&event.head, bytes.data(), sizeof(event.head));
  const auto rest = bytes.subspan(sizeof(event.head));
  event.data = rest.first(std::min<std::size_t>(event.head.size, rest.size()));
  return event;
}

}  // namespace sluice::agent
