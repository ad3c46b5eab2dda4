// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "lib/base/result.h"

namespace sluice::agentd {

// What kubelet and Prometheus are told: /healthz, /readyz and /metrics over
// HTTP. Served by two threads of its own from what the program's thread last
// said, so nobody who asks can hold that one up.
class HealthServer {
 public:
  // `address`: "0.0.0.0:9965".
  static Result<HealthServer> open(const std::string& address);
  HealthServer(HealthServer&&) noexcept;
  HealthServer& operator=(HealthServer&&) noexcept;
  HealthServer(const HealthServer&) = delete;
  HealthServer& operator=(const HealthServer&) = delete;
  ~HealthServer();

  // The program's thread is alive; if this is not said for half a minute,
  // /healthz fails.
  void beat();
  void set_ready(bool ready);
  // True if somebody wants newer metrics than those that were last set.
  [[nodiscard]] bool wants_metrics() const;
  void set_metrics(std::string text);

 private:
  HealthServer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agentd
