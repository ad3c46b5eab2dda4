// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/base/result.h"

namespace sluice::health {

// Serves /healthz, /readyz and /metrics over HTTP, for kubelet and Prometheus.
// A separate thread serves the values that the program's thread has set last,
// so no request can delay the program's thread.
//
// All members are called from the program's thread.
class HealthServer {
 public:
  // `address`: as for HttpServer. Fails if the server cannot listen there.
  static Result<HealthServer> open(const std::string& address);
  HealthServer(HealthServer&&) noexcept;
  HealthServer& operator=(HealthServer&&) noexcept;
  HealthServer(const HealthServer&) = delete;
  HealthServer& operator=(const HealthServer&) = delete;
  ~HealthServer();

  [[nodiscard]] int port() const;
  // Reports that the program's thread is alive. Before the first call, and
  // without a call for half a minute, /healthz fails.
  void beat();
  // Sets why /readyz fails, in one line; empty: it succeeds. Not ready at
  // first.
  void set_ready(const std::string& problem);
  // True if a request waits for newer metrics than those set last.
  [[nodiscard]] bool wants_metrics() const;
  void set_metrics(std::string text);
  // All of this, to be called several times a second. Calls `metrics` only if a
  // request waits for them, and at most once a second.
  void report(const std::string& problem,
              const std::function<std::string()>& metrics);

 private:
  HealthServer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::health
