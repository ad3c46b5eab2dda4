// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "lib/base/result.h"
#include "lib/health/health_server.h"
#include "operator/enforcement.h"

namespace sluice::operatord {

// The health address of a replica. Replicas on one node share its ports: the
// address belongs to the replica that serves. Another replica has read
// everything too, stands by, and takes over when the address is free. Belongs
// to the loop's thread.
class HealthPort {
 public:
  // Empty: no HTTP, and this replica never stands by.
  explicit HealthPort(std::string address) : address_(std::move(address)) {}

  // Listens, or stands by if another process has the address. On any other
  // failure nothing has changed.
  Result<void> open();
  // The replica must not serve, because another one does on this node.
  [[nodiscard]] bool stands_by() const { return standing_by_; }
  // While it stands by: tries again now and then. To be called often.
  void turn(op::Clock::time_point now);

  // Says that the program is alive, and why it is not ready; empty: it is.
  // Calls `metrics` at most once a second, and only if somebody asks for them.
  void report(const std::string& problem,
              const std::function<std::string()>& metrics);

 private:
  std::string address_;
  std::optional<health::HealthServer> server_;
  bool standing_by_ = false;
  op::Clock::time_point again_at_;
};

}  // namespace sluice::operatord
