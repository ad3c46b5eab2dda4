// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <bpf/libbpf.h>

#include "lib/base/result.h"

// Finds the occupant of our filters' place by asking the network stack, because
// the BPF system call opens a program by its id only for CAP_SYS_ADMIN, which
// our programs do not have.
namespace sluice::agent {

enum class Slot : std::uint8_t {
  kNoHook,  // no clsact, or no interface
  kEmpty,
  kOurs,     // a program of ours
  kForeign,  // a filter of another program
};

struct Occupant {
  Slot slot = Slot::kNoHook;
  std::uint32_t program = 0;  // id, of a BPF filter
};

// Looks at one direction of an interface. A program is ours if the name of its
// filter says so, which is set when it is attached.
Result<Occupant> find_filter(std::uint32_t ifindex, bpf_tc_attach_point point);

}  // namespace sluice::agent
