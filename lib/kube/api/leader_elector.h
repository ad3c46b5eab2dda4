// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "lib/kube/api/client.h"

// Elects one of several replicas by a Lease, compatible with client-go's
// programs.
//
//   LeaderElector elector(client, {.ns = "sluice", .name = "sluice-operator",
//                                  .identity = pod_name}, [&](bool leads)
//                                  {...});
//   elector.start();
//   ... elector.release([&] { stop the loop; });
//
// Only this machine's clock counts: a lease is free if it has been observed
// unchanged for its duration, whatever time is written in it. Only one replica
// leads as long as clocks run at about the same rate.
//
// Belongs to the loop's thread. `client` must outlive it. The handler may
// destroy the elector.
namespace sluice::kube {

struct LeaderElectorOptions {
  std::string ns;
  std::string name;
  std::string identity;  // unique among the replicas
  std::chrono::milliseconds lease_duration{15'000};
  std::chrono::milliseconds renew_deadline{10'000};  // < lease_duration
  std::chrono::milliseconds retry_period{2'000};     // < renew_deadline
};

class LeaderElector {
 public:
  using Handler = std::function<void(bool leads)>;

  LeaderElector(Client& client, LeaderElectorOptions options, Handler handler);
  LeaderElector(const LeaderElector&) = delete;
  LeaderElector& operator=(const LeaderElector&) = delete;
  LeaderElector(LeaderElector&&) = delete;
  LeaderElector& operator=(LeaderElector&&) = delete;
  // Does not release the lease.
  ~LeaderElector();

  void start();
  // Steps down (the handler is called if it led), releases the lease if it is
  // held, and calls `done` when that is finished, or after renew_deadline. It
  // cannot be started again.
  void release(std::function<void()> done);

  // True if this replica leads at this instant, even if the loop was stuck and
  // the handler could not be called: false as soon as the last renewal is older
  // than renew_deadline.
  [[nodiscard]] bool leads() const;
  // The leader as far as known; may be empty.
  [[nodiscard]] const std::string& leader() const;
  // The last error; empty after a success.
  [[nodiscard]] const std::string& error() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // a handler at work keeps it
};

}  // namespace sluice::kube
