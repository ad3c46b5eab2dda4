// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/packet.h"
#include "lib/base/ip.h"

// DNS messages of a scenario, and the packets that carry them.
namespace sluice::cli {

struct DnsRecords {
  std::string name;                  // of the question
  std::vector<std::string> cname;    // the chain behind it, in order
  std::vector<IpAddress> addresses;  // of the question's type count
  std::uint32_t ttl_s = 0;
};

// About the name's addresses of one family. The name must be one (dns::Name).
packet::Bytes dns_question(const std::string& name, bool v6, std::uint16_t id);
// The answer to it.
packet::Bytes dns_answer(const DnsRecords& records, bool v6, std::uint16_t id);

// The transport part of a packet with a message: a datagram, or a TCP segment
// with this sequence number.
packet::Bytes dns_datagram(std::uint16_t sport, std::uint16_t dport,
                           const packet::Bytes& message);
packet::Bytes dns_segment(std::uint16_t sport, std::uint16_t dport,
                          std::uint32_t sequence, const packet::Bytes& message);

}  // namespace sluice::cli
