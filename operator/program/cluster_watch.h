// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lib/kube/api/client.h"
#include "lib/kube/api/reflector.h"
#include "operator/cluster_store.h"
#include "operator/enforcement.h"

namespace sluice::operatord {

// All that the operator watches at the API server, told to the store as it
// comes. Belongs to the loop's thread; `client` and `store` outlive it.
class ClusterWatch {
 public:
  struct Kind {
    std::string kind;
    std::string state;
    std::string problem;  // of the last try; empty after a success
    bool synced = false;
    std::size_t objects = 0;
    kube::ReflectorStats stats;
  };

  // `on_change`: the translator was told something.
  ClusterWatch(kube::Client& client, op::ClusterStore& store,
               std::function<void()> on_change);
  ClusterWatch(const ClusterWatch&) = delete;
  ClusterWatch& operator=(const ClusterWatch&) = delete;
  ClusterWatch(ClusterWatch&&) = delete;
  ClusterWatch& operator=(ClusterWatch&&) = delete;
  ~ClusterWatch();

  void start();
  // Every kind has been seen as a whole once (or is not installed).
  [[nodiscard]] bool synced() const { return unsynced_.empty(); }
  // Which has not, and why; empty if all have.
  [[nodiscard]] std::string problem() const;
  // Of every kind of policy, the newest resourceVersion such that the store
  // has that and everything older.
  [[nodiscard]] const op::Versions& versions() const { return versions_; }
  [[nodiscard]] std::vector<Kind> kinds() const;

 private:
  struct Watched;

  void take(Watched& watched, const std::vector<kube::Event>& events);
  void changed(Watched& watched);
  void settle(Watched& watched);

  op::ClusterStore& store_;
  std::function<void()> on_change_;
  std::vector<std::unique_ptr<Watched>> watched_;
  std::vector<const Watched*> unsynced_;
  op::Versions versions_{};
};

}  // namespace sluice::operatord
