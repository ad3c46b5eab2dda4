// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>

#include "bpf/dns_message.bpf.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/dns/packet.h"

// Bytes as a DNS message: the reader of the BPF programs and a simple parser
// agree on whether it is complete, and on its names and addresses.
namespace {

using sluice::fuzz::check;

constexpr sluice::dns::test::Limits kLimits{.bytes = DNS_MESSAGE_MAX,
                                            .records = DNS_RECORDS_MAX,
                                            .names = DNS_NAMES_MAX,
                                            .pointers = DNS_POINTERS_MAX};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  if (size > DNS_MESSAGE_MAX) {
    return 0;
  }
  const auto m = std::make_unique<dns_message>();
  m->key[0] = 1;
  m->length = static_cast<std::uint32_t>(size);
  std::copy_n(data, size, m->bytes);
  int status = dns_open(m.get());
  while (status == DNS_OK && m->records > 0) {
    status = dns_next(m.get());
  }
  const auto expected =
      sluice::dns::test::read_simply({data, data + size}, kLimits);
  check((status == DNS_OK) == expected.complete, "both read all, or none does");
  if (!expected.complete) {
    return 0;
  }
  check(m->names == expected.names.size(), "both find the same names");
  check(m->addresses == expected.addresses.size(),
        "both find the same addresses");
  for (std::size_t i = 0; i < expected.addresses.size(); ++i) {
    const auto& address = expected.addresses[i];
    check(std::ranges::equal(m->address[i].bytes, address.bytes) &&
              m->address[i].ttl == address.ttl &&
              m->address[i].names == address.names,
          "an address is the same in both");
  }
  return 0;
}
