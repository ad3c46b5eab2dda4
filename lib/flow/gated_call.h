// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/support/status.h>

#include "lib/base/result.h"
#include "lib/flow/cluster.h"
#include "lib/flow/gate.h"
#include "lib/flow/seat.h"

namespace sluice::flow {

// A call whose client a gate admits, and which has one of the cluster's places
// from then on. Any thread may call it.
class GatedCall : public ClusterCall,
                  public std::enable_shared_from_this<GatedCall> {
 public:
  // Before anything else, once. Without a gate, root at this host asks.
  void start(Gate* gate, const std::string& authorization);
  // Takes part in nothing any more. Not under the lock.
  void close();

 protected:
  GatedCall(Cluster& cluster, Places places)
      : cluster_(cluster), seat_(cluster, places) {}

  // The members below are called, and are to be called, under this lock, which
  // is taken before the cluster's.
  std::mutex& mutex() { return mutex_; }

  // About which the gate is asked; see Gate. An error ends the call. Not asked
  // for before the client has a place among those that wait.
  virtual Result<std::vector<std::string>> namespaces_to_ask() = 0;
  // The client has a place.
  virtual void on_admitted(const Admission& admission) = 0;
  // What the gate says when it is asked again.
  virtual void on_checked(const Admission& /*admission*/) {}
  // The call has ended; once.
  virtual void on_finish(const grpc::Status& status) = 0;

  // Nothing happens if it has ended already.
  void finish(const grpc::Status& status);
  [[nodiscard]] bool has_ended() const { return ended_; }
  [[nodiscard]] bool has_gate() const { return gate_ != nullptr; }
  [[nodiscard]] Cluster& cluster() const { return cluster_; }

  // Asks the gate again. Not under the lock.
  void ask();

 private:
  void decide(const Admission& admission);

  Cluster& cluster_;
  std::mutex mutex_;  // guards what follows
  Seat seat_;
  Gate* gate_ = nullptr;
  std::string authorization_;
  bool admitted_ = false;
  bool ended_ = false;
};

}  // namespace sluice::flow
