// SPDX-License-Identifier: Apache-2.0
#include "cli/dns_packet.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

#include "lib/dns/name.h"

namespace sluice::cli {
namespace {

using packet::Bytes;

// RFC 1035, 3.2.
constexpr unsigned kA = 1;
constexpr unsigned kCname = 5;
constexpr unsigned kAaaa = 28;
constexpr unsigned kInternet = 1;
constexpr unsigned kQuestion = 0x0100;  // recursion desired
constexpr unsigned kAnswer = 0x8180;    // and available
constexpr std::size_t kSequenceAt = 4;  // in a TCP header

void put16(Bytes& to, unsigned value) {
  to.push_back(static_cast<std::uint8_t>(value >> 8U));
  to.push_back(static_cast<std::uint8_t>(value));
}

void put32(Bytes& to, std::uint32_t value) {
  put16(to, value >> 16U);
  put16(to, value & 0xffffU);
}

void put_name(Bytes& to, const std::string& text) {
  const auto name = dns::Name::from_text(text).value_or(dns::Name());
  const std::string_view wire = name.wire();
  to.insert(to.end(), wire.begin(), wire.end());
}

Bytes message(unsigned flags, const std::string& name, bool v6,
              std::uint16_t id, std::size_t answers) {
  Bytes result;
  put16(result, id);
  put16(result, flags);
  put16(result, 1);
  put16(result, static_cast<unsigned>(answers));
  put32(result, 0);
  put_name(result, name);
  put16(result, v6 ? kAaaa : kA);
  put16(result, kInternet);
  return result;
}

void put_record(Bytes& to, const std::string& owner, unsigned type,
                std::uint32_t ttl, const Bytes& data) {
  put_name(to, owner);
  put16(to, type);
  put16(to, kInternet);
  put32(to, ttl);
  put16(to, static_cast<unsigned>(data.size()));
  to.insert(to.end(), data.begin(), data.end());
}

// Puts the payload in place of what a transport header was made with.
Bytes with_payload(Bytes transport, const Bytes& payload) {
  std::ranges::copy(
      payload, transport.end() - static_cast<std::ptrdiff_t>(payload.size()));
  return transport;
}

}  // namespace

Bytes dns_question(const std::string& name, bool v6, std::uint16_t id) {
  return message(kQuestion, name, v6, id, 0);
}

Bytes dns_answer(const DnsRecords& records, bool v6, std::uint16_t id) {
  std::vector<IpAddress> addresses;
  std::ranges::copy_if(records.addresses, std::back_inserter(addresses),
                       [v6](const IpAddress& ip) { return ip.v6 == v6; });
  Bytes result = message(kAnswer, records.name, v6, id,
                         records.cname.size() + addresses.size());
  std::string owner = records.name;
  for (const auto& target : records.cname) {
    Bytes data;
    put_name(data, target);
    put_record(result, owner, kCname, records.ttl_s, data);
    owner = target;
  }
  for (const auto& address : addresses) {
    Bytes data(address.bytes.begin(), address.bytes.end());
    data.resize(v6 ? 16 : 4);
    put_record(result, owner, v6 ? kAaaa : kA, records.ttl_s, data);
  }
  return result;
}

Bytes dns_datagram(std::uint16_t sport, std::uint16_t dport,
                   const Bytes& message) {
  return with_payload(packet::udp(sport, dport, message.size()), message);
}

Bytes dns_segment(std::uint16_t sport, std::uint16_t dport,
                  std::uint32_t sequence, const Bytes& message) {
  Bytes payload;
  put16(payload, static_cast<unsigned>(message.size()));
  payload.insert(payload.end(), message.begin(), message.end());
  Bytes result = with_payload(
      packet::tcp(sport, dport, packet::kAck, payload.size()), payload);
  Bytes number;
  put32(number, sequence);
  std::ranges::copy(number, result.begin() + kSequenceAt);
  return result;
}

}  // namespace sluice::cli
