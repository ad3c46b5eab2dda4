// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "lib/kube/api/client.h"

// Elects one of several replicas by a Lease, as client-go's programs do, and
// together with them.
//
//   LeaderElector elector(client, {.ns = "sluice", .name = "sluice-operator",
//                                  .identity = pod_name}, [&](bool leads)
//                                  {...});
//   elector.start();
//   ... elector.release([&] { stop the loop; });
//
// Time is this machine's: a lease is free when it has been seen unchanged for
// as long as it is to last, whatever the clock in it says. Only one replica
// leads as long as clocks run at about the same rate.
//
// Belongs to the loop's thread. `client` outlives it. The handler may destroy
// the elector.
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
  // Steps down (the handler is told if it led), frees the lease if it is held
  // and calls `done` when that is finished, or after renew_deadline. Not
  // started again.
  void release(std::function<void()> done);

  // Whether this replica leads at this instant, even if the loop was stuck and
  // the handler could not be told: false as soon as the last renewal is older
  // than renew_deadline.
  [[nodiscard]] bool leads() const;
  // Who leads, as far as known; may be empty.
  [[nodiscard]] const std::string& leader() const;
  // What went wrong last; empty after a success.
  [[nodiscard]] const std::string& error() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // a handler at work keeps it
};

}  // namespace sluice::kube
