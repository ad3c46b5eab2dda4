// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/kube/api/client.h"
#include "lib/kube/api/reflector.h"
#include "operator/cluster_store.h"
#include "operator/enforcement.h"
#include "operator/pacing.h"

namespace sluice::operatord {

// Watches all kinds that the operator needs at the API server and passes their
// events to the store. Belongs to the loop's thread; `client` and `store` must
// outlive this object.
class ClusterWatch {
 public:
  struct Kind {
    std::string kind;
    std::string state;
    std::string problem;  // of the last attempt; empty after a success
    bool synced = false;
    std::size_t objects = 0;
    kube::ReflectorStats stats;
  };

  // `on_change` is called when the translator has received a change.
  ClusterWatch(kube::Client& client, op::ClusterStore& store,
               std::function<void()> on_change);
  ClusterWatch(const ClusterWatch&) = delete;
  ClusterWatch& operator=(const ClusterWatch&) = delete;
  ClusterWatch(ClusterWatch&&) = delete;
  ClusterWatch& operator=(ClusterWatch&&) = delete;
  ~ClusterWatch();

  void start();
  // True if every kind has been listed completely once or is not installed.
  [[nodiscard]] bool synced() const { return unsynced_.empty(); }
  // Which kind has not been listed, and why; empty if all have.
  [[nodiscard]] std::string problem() const;
  // What the store has of the API server's policies.
  [[nodiscard]] op::TakenIn taken_in() const;

  // The policies of namespaces whose changes are expensive are passed to the
  // store later, see op::Pacing. What it took to translate the changes since
  // the last call, in computing time.
  void charge(std::chrono::nanoseconds spent,
              std::chrono::steady_clock::time_point now) {
    pacing_.charge(spent, now);
  }
  // Passes the policies of one such namespace whose time has come. False if
  // there is none; otherwise charge_alone() has to follow.
  bool hand_over(std::chrono::steady_clock::time_point now);
  // Passes what is held of a namespace's policies: one of its pods starts, and
  // waits for them.
  void release(const std::string& ns);
  void charge_alone(std::chrono::nanoseconds spent,
                    std::chrono::steady_clock::time_point now) {
    pacing_.charge_alone(spent, now);
  }
  [[nodiscard]] std::vector<Kind> kinds() const;

 private:
  struct Watched;

  void take(Watched& watched, const std::vector<kube::Event>& events);
  bool take_held(const std::vector<kube::Event>& events);
  void changed(Watched& watched);
  void settle(Watched& watched);

  op::ClusterStore& store_;
  std::function<void()> on_change_;
  std::vector<std::unique_ptr<Watched>> watched_;
  std::vector<const Watched*> unsynced_;
  op::Pacing pacing_;
  op::Versions versions_{};
};

}  // namespace sluice::operatord
