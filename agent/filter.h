// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <bpf/libbpf.h>

#include "lib/base/result.h"

// What is where our filters go, asked of the network stack: the BPF system call
// opens a program by its id only for CAP_SYS_ADMIN, which nobody here has.
namespace sluice::agent {

enum class Slot : std::uint8_t {
  kNoHook,  // no clsact, or no interface
  kEmpty,
  kOurs,     // a program of ours
  kForeign,  // someone else took it
};

struct Occupant {
  Slot slot = Slot::kNoHook;
  std::uint32_t program = 0;  // id, of a BPF filter
};

// In one direction of an interface. A program is ours by the name that its
// filter has carried since it was attached.
Result<Occupant> find_filter(std::uint32_t ifindex, bpf_tc_attach_point point);

}  // namespace sluice::agent
