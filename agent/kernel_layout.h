// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

namespace sluice::agent {

// Offsets of the fields of the kernel's connection tracking that the datapath
// reads, in bytes from the start of the structure.
struct ConntrackLayout {
  std::uint32_t nfct = 0;   // struct sk_buff: _nfct
  std::uint32_t tuple = 0;  // struct nf_conn: tuplehash[0].tuple
  bool operator==(const ConntrackLayout&) const = default;
};

// Reads the layout from the BTF of the running kernel and of its module
// nf_conntrack. nullopt if the kernel has no connection tracking at present,
// does not describe it, has another layout of the tuple than bpf/kernel.bpf.h,
// or does not let tc programs read its memory. Needs no privileges except those
// for BPF.
std::optional<ConntrackLayout> find_conntrack_layout();

}  // namespace sluice::agent
