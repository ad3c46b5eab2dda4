// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "lib/base/result.h"

namespace sluice::health {

// What kubelet and Prometheus are told by a program: /healthz, /readyz and
// /metrics over HTTP. Served by a thread of its own from what the program's
// thread last said, so nobody who asks can hold that one up.
//
// All members are called from the program's thread.
class HealthServer {
 public:
  // `address`: as HttpServer's. An error if nothing can listen there.
  static Result<HealthServer> open(const std::string& address);
  HealthServer(HealthServer&&) noexcept;
  HealthServer& operator=(HealthServer&&) noexcept;
  HealthServer(const HealthServer&) = delete;
  HealthServer& operator=(const HealthServer&) = delete;
  ~HealthServer();

  [[nodiscard]] int port() const;
  // The program's thread is alive; if this is not said for half a minute,
  // /healthz fails.
  void beat();
  // Why /readyz fails, in one line; empty: it does not. Not ready at first.
  void set_ready(const std::string& problem);
  // True if somebody wants newer metrics than those that were last set.
  [[nodiscard]] bool wants_metrics() const;
  void set_metrics(std::string text);

 private:
  HealthServer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::health
