// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "agent/adopt_flow.h"
#include "lib/base/ip.h"
#include "lib/base/result.h"

namespace sluice::agent {

// The kernel's own connection tracking in the thread's network namespace, read
// by ctnetlink, which asks for CAP_NET_ADMIN. Errors have the code
// EPROTONOSUPPORT where the kernel has no ctnetlink. A seam, for tests.
class Tracking {
 public:
  Tracking() = default;
  Tracking(const Tracking&) = delete;
  Tracking& operator=(const Tracking&) = delete;
  Tracking(Tracking&&) = delete;
  Tracking& operator=(Tracking&&) = delete;
  virtual ~Tracking() = default;

  // How many flows there are. 0 also where no rule makes the kernel look.
  [[nodiscard]] virtual Result<std::uint32_t> count() = 0;
  // Whether there is any flow of a family.
  [[nodiscard]] virtual Result<bool> has_any(bool v6) = 0;

  // False: enough.
  using Visitor = std::function<bool(const TrackedFlow&)>;
  // Visits all flows, and maybe others, whose opener or whose target is one of
  // the addresses. Those that begin or end meanwhile may be missed, some may be
  // visited twice. `flows`: how many there are, as count() told, to choose the
  // cheaper of two ways.
  [[nodiscard]] virtual Result<void> read(std::span<const IpAddress> addresses,
                                          std::uint32_t flows,
                                          const Visitor& visit) = 0;
};

std::unique_ptr<Tracking> kernel_tracking();

}  // namespace sluice::agent
