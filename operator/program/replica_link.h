// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lib/base/loop.h"
#include "lib/wire/replication.h"
#include "lib/wire/tls.h"
#include "operator/cluster_store.h"
#include "operator/enforcement.h"

namespace sluice::operatord {

// Returns the identity in the Lease, "POD@ADDRESS:PORT", by which the others
// find the leader.
std::string replica_identity(const std::string& name,
                             const std::string& address);
// Returns the address in an identity; empty if there is none.
std::string address_of(const std::string& identity);

// Reports the progress of this replica's agents to the leader. One thread, that
// of the loop.
class ReplicaLink {
 public:
  // Called with the addresses that agents of other replicas have found on their
  // nodes.
  using OnFound = std::function<void(const std::vector<wire::FoundAddresses>&)>;

  // All arguments must outlive this object. `identity` is this replica's.
  ReplicaLink(Loop& loop, const op::NodeProgress& progress,
              const op::ClusterStore& store, std::string identity,
              OnFound on_found);
  ReplicaLink(const ReplicaLink&) = delete;
  ReplicaLink& operator=(const ReplicaLink&) = delete;
  ReplicaLink(ReplicaLink&&) = delete;
  ReplicaLink& operator=(ReplicaLink&&) = delete;
  ~ReplicaLink();

  // How to reach the others: nullopt for plain text.
  void set_certificate(const std::optional<wire::TlsMaterial>& tls,
                       const std::string& server_name);
  // Sets the leader's identity. If it is empty or this replica's own, nothing
  // is sent.
  void set_leader(const std::string& identity);
  void nodes_changed(const std::vector<std::string>& nodes);
  // Sends pending reports; to be called often.
  void turn(op::Clock::time_point now);

 private:
  void connect();
  void disconnect();
  void outcome(const wire::ReportSender::Outcome& outcome);
  void tell_all();

  Loop& loop_;
  const op::NodeProgress& progress_;
  const op::ClusterStore& store_;
  const std::string identity_;
  const OnFound on_found_;
  std::optional<wire::TlsMaterial> tls_;
  std::string server_name_;
  std::string leader_;
  std::optional<wire::ReportSender> sender_;
  std::set<std::string> changed_;  // nodes
  std::set<std::string> sent_;     // sent and not acknowledged
  op::Clock::time_point next_;
  op::Clock::time_point hear_at_;
  std::string told_problem_;
};

}  // namespace sluice::operatord
