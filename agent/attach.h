// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "agent/datapath.h"
#include "lib/base/result.h"

namespace sluice::agent {

// Priority of our filters in clsact: low, to run before filters that end the
// chain, but not 1, which other programs use.
inline constexpr std::uint32_t kFilterPriority = 7;
inline constexpr std::uint32_t kFilterHandle = 0x51ce;
// Prefix of our programs' names.
inline constexpr std::string_view kProgramPrefix = "sluice_";

// Attaches the two programs of a datapath to pods' host-side interfaces.
// Attachments outlive this object.
class Attacher {
 public:
  Attacher() = default;
  Attacher(const Attacher&) = delete;
  Attacher& operator=(const Attacher&) = delete;
  Attacher(Attacher&&) = delete;
  Attacher& operator=(Attacher&&) = delete;
  virtual ~Attacher() = default;

  // Attaches both directions. Keeps existing attachments and replaces an older
  // program of ours in place. A failure may leave one direction attached; it
  // never removes an existing attachment.
  virtual Result<void> attach(std::uint32_t ifindex) = 0;
  // Succeeds if none of our programs or no such interface is there.
  virtual Result<void> detach(std::uint32_t ifindex) = 0;
  // True if at least one direction has a program of ours.
  [[nodiscard]] virtual bool attached(std::uint32_t ifindex) const = 0;
};

// Uses clsact filters; kernels from 4.5. `datapath` must outlive the result.
std::unique_ptr<Attacher> tc_attacher(const Datapath& datapath);
// Detaches all of our programs; needs no datapath.
Result<void> tc_detach(std::uint32_t ifindex);

}  // namespace sluice::agent
