// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "lib/base/ip.h"
#include "lib/base/result.h"
#include "lib/dns/name.h"
#include "sluice/abi.h"

// DNS messages, read by the source that the BPF programs use, too. Pure: no
// descriptors, no clock. Any thread.
namespace sluice::agent {

struct AnswerAddress {
  IpAddress address;
  std::uint32_t ttl = 0;  // seconds
  // The address is one of the first `names` names of the answer.
  std::size_t names = 0;
  bool operator==(const AnswerAddress&) const = default;
};

// A query or its response.
struct Answer {
  std::uint16_t id = 0;
  bool response = false;
  bool truncated = false;
  std::uint8_t code = 0;   // RCODE
  std::uint16_t type = 0;  // of the question
  // The question's name, then the targets of the CNAMEs that begin with it.
  // Never empty.
  std::vector<dns::Name> names;
  std::vector<AnswerAddress> addresses;
};

// Reads a message. It is read as a whole or not at all: the error says that it
// is damaged, is no query or response with one question, or has too much in it.
// Larger messages can be read than in the kernel: all sizes that TCP allows.
Result<Answer> read_answer(std::span<const std::byte> message);

// The key of a name in the map `names`, as the kernel computes it.
// `secret`: sluice_state.name_key.
sluice_name_key hash_name(const std::array<std::uint64_t, 2>& secret,
                          const dns::Name& name);

}  // namespace sluice::agent
