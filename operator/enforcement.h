// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/kube/objects.h"
#include "lib/wire/protocol.h"
#include "operator/cluster_store.h"

// Which policies are in force on which nodes. Pure: no I/O, the caller's clock,
// one thread.
namespace sluice::op {

using Clock = std::chrono::steady_clock;

// For every kind of policy, the newest resourceVersion that has been taken in.
using Versions = std::array<std::uint64_t, kPolicyKinds>;
// What of the API server's policies has been taken in: everything up to
// `versions` but for what is held.
struct TakenIn {
  Versions versions{};
  std::vector<wire::HeldVersion> held;
  bool operator==(const TakenIn&) const = default;
};

// The progress of the agents that this replica serves. A node's agent has
// everything in force that was taken in before the oldest transaction that the
// agent has not applied.
class NodeProgress {
 public:
  // Objects have been taken in and the resulting transactions sent: nodes
  // without a transaction in flight have all of this in force.
  void advance(const TakenIn& taken_in);

  void connected(const std::string& node, bool resumed);
  void disconnected(const std::string& node);
  void forget(const std::string& node);
  // A snapshot was sent: the agent's previous state is unknown until it has
  // applied this revision.
  void snapshot(const std::string& node, std::uint64_t revision);
  // A transaction was sent: the node needs it for the versions of the next
  // advance().
  void sent(const std::string& node, std::uint64_t revision);
  void acknowledged(const std::string& node, const wire::Ack& ack);

  // For an unknown node the report says: not connected, and nothing in force.
  [[nodiscard]] wire::NodeReport report(const std::string& node) const;
  [[nodiscard]] std::vector<std::string> nodes() const;
  // Nodes whose report() may have changed since the last call.
  std::vector<std::string> take_changed();
  // Number of nodes with a transaction in flight.
  [[nodiscard]] std::size_t behind() const;

 private:
  // Bounds the list for a node that applies nothing.
  static constexpr std::size_t kPendingMax = 256;
  struct Pending {
    std::uint64_t revision = 0;
    TakenIn before;  // in force until it is applied
  };
  struct Node {
    bool connected = false;
    std::deque<Pending> pending;
    std::vector<wire::Failure> failures;
  };

  TakenIn taken_in_;
  std::unordered_map<std::string, Node> nodes_;
  std::set<std::string> changed_;
};

// The state of one policy as its status shows it.
struct Enforced {
  bool enforced = false;
  std::string reason;   // "Enforced", "Pending", "AgentUnreachable", ...
  std::string message;  // "2/3 nodes; waiting for node3"
  bool operator==(const Enforced&) const = default;
};

// Combines the reports of all replicas about their agents.
class Enforcement {
 public:
  // Grace period for an enforced policy when a node lags or its agent is away.
  // Agents are replaced and pods start all the time, and a status that follows
  // each of these events is of no use.
  static constexpr std::chrono::seconds kPatience{5};

  // Replaces the replica's report about the node; removes it if the replica no
  // longer knows the node. `replica` empty: this one.
  void set(const std::string& replica, const wire::NodeReport& report);
  // Removes all reports of the replica.
  void forget(const std::string& replica);

  // Calls its argument for every pod that the policy selects.
  using Subjects =
      std::function<void(const std::function<void(const kube::Pod& pod)>&)>;
  // Evaluates a policy whose newest version is valid, and records since when it
  // has not been enforced. `shown`: what its status already says about this
  // version, written by this replica or the previous leader.
  Enforced judge(const PolicyObject& policy, const Subjects& subjects,
                 const std::optional<Enforced>& shown, Clock::time_point now);
  // The policy is gone.
  void forget_policy(const ObjectKey& key);
  // Leadership was lost: discards the history of all policies.
  void forget_policies();

 private:
  struct Node {
    std::map<std::string, wire::NodeReport> by_replica;
  };
  struct History {
    std::string uid;
    std::int64_t generation = 0;
    bool enforced = false;           // this generation was enforced once
    Clock::time_point broken_since;  // max: it is enforced
    Enforced last;
  };
  struct Shortfall {
    std::string node;
    std::string reason;
    std::string detail;
  };

  void forget_node(const std::string& replica, const std::string& name);
  [[nodiscard]] static const wire::NodeReport* best(const Node& node);
  [[nodiscard]] const wire::NodeReport* report_of(std::string_view node) const;
  [[nodiscard]] static Shortfall shortfall(std::string_view name,
                                           const wire::NodeReport* report,
                                           const PolicyObject& policy);
  [[nodiscard]] std::vector<Shortfall> shortfalls_of(const PolicyObject& policy,
                                                     const Subjects& subjects,
                                                     std::size_t& nodes) const;
  static Enforced describe(const std::vector<Shortfall>& shortfalls,
                           std::size_t nodes);

  std::unordered_map<std::string, Node> nodes_;
  std::map<ObjectKey, History> histories_;
};

}  // namespace sluice::op
