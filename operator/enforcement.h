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

// What of the policies is in force on which node. Values and their rules; no
// I/O, the caller's clock, one thread.
namespace sluice::op {

using Clock = std::chrono::steady_clock;

// For every kind of policy, the newest resourceVersion that has been taken in.
using Versions = std::array<std::uint64_t, kPolicyKinds>;

// How far the agents are that this replica serves. A node's agent has in force
// all that was taken in before the oldest transaction that it has not applied.
class NodeProgress {
 public:
  // Objects have been taken in and what follows from them sent: nodes to which
  // nothing is on its way have all of it in force.
  void advance(const Versions& versions);

  void connected(const std::string& node, bool resumed);
  void disconnected(const std::string& node);
  void forget(const std::string& node);
  // All that the agent had before is void until this revision is applied.
  void snapshot(const std::string& node, std::uint64_t revision);
  // It needs a transaction for what advance() is to say next.
  void sent(const std::string& node, std::uint64_t revision);
  void acknowledged(const std::string& node, const wire::Ack& ack);

  // Of a node that is not known: not connected, and nothing in force.
  [[nodiscard]] wire::NodeReport report(const std::string& node) const;
  [[nodiscard]] std::vector<std::string> nodes() const;
  // Nodes of which report() may have changed since the last call.
  std::vector<std::string> take_changed();
  // Nodes with something on its way.
  [[nodiscard]] std::size_t behind() const;

 private:
  // Of a node that applies nothing there is a bounded number.
  static constexpr std::size_t kPendingMax = 256;
  struct Pending {
    std::uint64_t revision = 0;
    Versions before{};  // in force as long as it is not applied
  };
  struct Node {
    bool connected = false;
    std::deque<Pending> pending;
    std::vector<wire::Failure> failures;
  };

  Versions versions_{};
  std::unordered_map<std::string, Node> nodes_;
  std::set<std::string> changed_;
};

// What is to be shown of one policy.
struct Enforced {
  bool enforced = false;
  std::string reason;   // "Enforced", "Pending", "AgentUnreachable", ...
  std::string message;  // "2/3 nodes; waiting for node3"
  bool operator==(const Enforced&) const = default;
};

// Puts together what all replicas say of their agents.
class Enforcement {
 public:
  // A node that lags behind, or whose agent is away, makes a policy that was
  // enforced not enforced only after this time: agents are replaced, pods come
  // all the time, and a status that follows each of them is of no use.
  static constexpr std::chrono::seconds kPatience{5};

  // `replica` empty: this one. Replaces what it said of the node; forgets it
  // where it knows nothing of the node any more.
  void set(const std::string& replica, const wire::NodeReport& report);
  // Nothing is known any more of what the replica said.
  void forget(const std::string& replica);

  // Calls its argument for every pod that the policy selects.
  using Subjects =
      std::function<void(const std::function<void(const kube::Pod& pod)>&)>;
  // Of a policy whose newest version is valid. Remembers since when it is not
  // enforced. `shown`: what its status says of this version already, by this
  // replica or the one that led before.
  Enforced judge(const PolicyObject& policy, const Subjects& subjects,
                 const std::optional<Enforced>& shown, Clock::time_point now);
  // The policy is gone.
  void forget_policy(const ObjectKey& key);
  // Nobody judges any more: what was judged is not gone on from.
  void forget_policies();

 private:
  struct Node {
    std::map<std::string, wire::NodeReport> by_replica;
  };
  struct History {
    std::string uid;
    std::int64_t generation = 0;
    bool enforced = false;           // once, this generation
    Clock::time_point broken_since;  // max: it is enforced
    Enforced last;
  };
  struct Lack {
    std::string node;
    std::string reason;
    std::string detail;
  };

  void forget_node(const std::string& replica, const std::string& name);
  [[nodiscard]] static const wire::NodeReport* best(const Node& node);
  [[nodiscard]] const wire::NodeReport* report_of(std::string_view node) const;
  [[nodiscard]] static Lack lack(std::string_view name,
                                 const wire::NodeReport* report,
                                 const PolicyObject& policy);
  [[nodiscard]] std::vector<Lack> lacks(const PolicyObject& policy,
                                        const Subjects& subjects,
                                        std::size_t& nodes) const;
  static Enforced describe(const std::vector<Lack>& lacks, std::size_t nodes);

  std::unordered_map<std::string, Node> nodes_;
  std::map<ObjectKey, History> histories_;
};

}  // namespace sluice::op
