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
// by ctnetlink, which needs CAP_NET_ADMIN. Errors have the code EPROTONOSUPPORT
// if the kernel has no ctnetlink. An interface, so that tests can replace it.
class Tracking {
 public:
  Tracking() = default;
  Tracking(const Tracking&) = delete;
  Tracking& operator=(const Tracking&) = delete;
  Tracking(Tracking&&) = delete;
  Tracking& operator=(Tracking&&) = delete;
  virtual ~Tracking() = default;

  // Number of flows. Also 0 if no rule makes the kernel track connections.
  [[nodiscard]] virtual Result<std::uint32_t> count() = 0;
  // True if there is any flow of the family.
  [[nodiscard]] virtual Result<bool> has_any(bool v6) = 0;

  // Returns false to stop.
  using Visitor = std::function<bool(const TrackedFlow&)>;
  // Visits all flows, and perhaps others, whose opener or target is one of the
  // addresses. Flows that begin or end meanwhile may be missed, and some may be
  // visited twice. `flows`: the result of count(), to choose the cheaper of two
  // ways.
  [[nodiscard]] virtual Result<void> read(std::span<const IpAddress> addresses,
                                          std::uint32_t flows,
                                          const Visitor& visit) = 0;
};

std::unique_ptr<Tracking> kernel_tracking();

}  // namespace sluice::agent
