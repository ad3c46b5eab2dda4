// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/kube/api/client.h"
#include "operator/cluster_store.h"

namespace sluice::operatord {

// Keeps the last valid versions of objects whose newest one is not valid where
// their own status cannot: in ConfigMaps of the operator's namespace, one per
// namespace of the objects, so that nobody but the operator can change what is
// in force, and no namespace takes another one's room. What is there is told to
// the store, also as it changes.
//
// Belongs to the loop's thread. `client` and `store` outlive it.
class KeptVersions {
 public:
  // `on_change`: the translator was told something.
  KeptVersions(kube::Client& client, op::ClusterStore& store, std::string ns,
               std::function<void()> on_change);
  KeptVersions(const KeptVersions&) = delete;
  KeptVersions& operator=(const KeptVersions&) = delete;
  KeptVersions(KeptVersions&&) = delete;
  KeptVersions& operator=(KeptVersions&&) = delete;
  ~KeptVersions();

  void start();
  // What is kept has been told, or cannot be read: problem() says why.
  [[nodiscard]] bool ready() const;
  [[nodiscard]] const std::string& problem() const;

  // Only while this replica leads. `kept`: by op::to_keep_elsewhere(), or empty
  // if there is nothing to be kept here. False if it is too large; an older
  // version of it that is kept stays then.
  bool want(const op::PolicyObject& object, std::string kept);
  void forget(const op::ObjectKey& key);
  // Everything that is to be kept has been wanted; what else is there may go.
  void settle();
  // Another replica does it.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::operatord
