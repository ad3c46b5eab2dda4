// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "agent/datapath.h"
#include "lib/base/result.h"

namespace sluice::agent {

// Where our filters are in clsact: low, to run before filters that end the
// chain, but not 1, which others take.
inline constexpr std::uint32_t kFilterPriority = 7;
inline constexpr std::uint32_t kFilterHandle = 0x51ce;
// Our programs' names begin with it.
inline constexpr std::string_view kProgramPrefix = "sluice_";

// Puts the two programs of a datapath on pods' host-side interfaces. What it
// attaches stays when it goes.
class Attacher {
 public:
  Attacher() = default;
  Attacher(const Attacher&) = delete;
  Attacher& operator=(const Attacher&) = delete;
  Attacher(Attacher&&) = delete;
  Attacher& operator=(Attacher&&) = delete;
  virtual ~Attacher() = default;

  // Both directions. Leaves what is attached already, replaces an older program
  // of ours in place. A failure may leave one direction attached; it never
  // takes away what was there.
  virtual Result<void> attach(std::uint32_t ifindex) = 0;
  // Success if there is nothing of ours, or no such interface.
  virtual Result<void> detach(std::uint32_t ifindex) = 0;
  // True if either direction has a program of ours.
  [[nodiscard]] virtual bool attached(std::uint32_t ifindex) const = 0;
};

// By clsact filters; kernels from 4.5. `datapath` must outlive the result.
std::unique_ptr<Attacher> tc_attacher(const Datapath& datapath);
// Without a datapath: takes off whatever sluice left there.
Result<void> tc_detach(std::uint32_t ifindex);

}  // namespace sluice::agent
