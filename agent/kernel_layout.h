// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

namespace sluice::agent {

// Where the kernel keeps what the datapath asks its connection tracking for, in
// bytes from the beginning of the structure.
struct ConntrackLayout {
  std::uint32_t nfct = 0;   // struct sk_buff: _nfct
  std::uint32_t tuple = 0;  // struct nf_conn: tuplehash[0].tuple
  bool operator==(const ConntrackLayout&) const = default;
};

// From the BTF of the running kernel and of its module nf_conntrack. Nothing if
// the kernel has no connection tracking (now), does not describe it, lays out
// the tuple in another way than bpf/kernel.bpf.h, or does not let tc programs
// read its memory. Needs no privileges but those for BPF.
std::optional<ConntrackLayout> find_conntrack_layout();

}  // namespace sluice::agent
