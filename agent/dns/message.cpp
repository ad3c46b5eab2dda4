// SPDX-License-Identifier: Apache-2.0
#include "agent/dns/message.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <linux/types.h>

// A whole message of TCP, which has room for as many addresses. The types are
// of this file alone, because their sizes follow from these numbers.
#define DNS_MESSAGE_MAX 65536U
#define DNS_RECORDS_MAX 4096U
namespace sluice::agent {
namespace {
#include "bpf/dns_message.bpf.h"

// Large; one for every thread.
dns_message& reader() {
  static thread_local const auto message = std::make_unique<dns_message>();
  return *message;
}

Error describe(int status) {
  switch (status) {
    case DNS_DAMAGED:
      return {.message = "the DNS message is damaged"};
    case DNS_UNUSUAL:
      return {.message =
                  "the DNS message is no query or response with one question"};
    default:
      return {.message = "the DNS message has more in it than can be read"};
  }
}

Result<dns::Name> copy_name(dns_message& message, std::uint32_t at) {
  if (dns_copy_name(&message, at) == 0) {
    return std::unexpected(describe(DNS_DAMAGED));
  }
  return dns::Name::from_wire(
      {reinterpret_cast<const char*>(message.wire), message.read_size});
}

AnswerAddress to_address(const dns_address& from) {
  AnswerAddress result{.ttl = from.ttl, .names = from.names};
  std::ranges::copy(from.bytes, result.address.bytes.begin());
  result.address.v6 = from.v6 != 0;
  return result;
}

}  // namespace

Result<Answer> read_answer(std::span<const std::byte> message) {
  dns_message& m = reader();
  if (message.size() >= DNS_MESSAGE_MAX) {
    return std::unexpected(describe(DNS_TOO_LARGE));
  }
  m.length = static_cast<std::uint32_t>(message.size());
  std::ranges::copy(message, reinterpret_cast<std::byte*>(m.bytes));
  int status = dns_open(&m);
  while (status == DNS_OK && m.records > 0) {
    status = dns_next(&m);
  }
  if (status != DNS_OK) {
    return std::unexpected(describe(status));
  }
  Answer result{.id = m.id,
                .response = (m.flags & DNS_FLAG_RESPONSE) != 0,
                .truncated = (m.flags & DNS_FLAG_TRUNCATED) != 0,
                .code = static_cast<std::uint8_t>(m.flags & DNS_MASK_RCODE),
                .type = m.type};
  for (std::size_t i = 0; i < m.names; ++i) {
    auto name = copy_name(m, m.name_at[i]);
    if (!name) {
      return std::unexpected(std::move(name.error()));
    }
    result.names.push_back(std::move(*name));
  }
  result.addresses.reserve(m.addresses);
  std::transform(m.address, m.address + m.addresses,
                 std::back_inserter(result.addresses), to_address);
  return result;
}

sluice_name_key hash_name(const std::array<std::uint64_t, 2>& secret,
                          const dns::Name& name) {
  dns_message& m = reader();
  const std::string_view wire = name.wire();
  std::ranges::copy(secret, m.key);
  std::memset(m.wire, 0, sizeof(m.wire));
  std::ranges::copy(wire, reinterpret_cast<char*>(m.wire));
  m.read_size = static_cast<std::uint32_t>(wire.size());
  dns_hash(&m);
  return {.hash = {m.read.hash[0], m.read.hash[1]}};
}

}  // namespace sluice::agent
