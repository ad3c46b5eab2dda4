// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "sluice/abi.h"

namespace sluice::agent {

// What the programs tell of a DNS message: the head of the event and what
// stands behind it, a packet or a message.
struct DnsEvent {
  sluice_dns_event head{};
  std::span<const std::byte> data;  // in the bytes that were read
};

// Reads an event from a buffer of the kernel's, which may have padded it.
// Nothing if it has no whole head.
std::optional<DnsEvent> read_event(std::span<const std::byte> bytes);

}  // namespace sluice::agent
