// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "lib/kube/api/event.h"
#include "lib/policy/translator.h"
#include "lib/wire/protocol.h"
#include "operator/object.h"
#include "operator/pod_index.h"

namespace sluice::op {

// The kinds of policy, by their index in vectors of resourceVersions.
inline constexpr std::size_t kPolicyKinds = 4;

// A policy or a CIDR group of the API server, and which version of it is in
// force: the newest version if it is valid, otherwise the last valid one.
struct PolicyObject {
  ObjectKey key;
  const kube::Resource* resource = nullptr;
  std::string uid;
  std::int64_t generation = 0;
  // The first resourceVersion with this generation; 0 if it is not a number.
  // Versions of one resource are compared as numbers: see "Resource versions"
  // in Kubernetes' API concepts (guaranteed from 1.35 on; with etcd it holds in
  // all earlier versions).
  std::uint64_t resource_version = 0;
  std::string latest_version;  // current resourceVersion
  bool valid = false;          // the newest version is valid
  std::string reason;          // why not
  bool in_force = false;       // some version is in force
  // For people, the effect of an invalid policy without a version in force:
  // "its pods are isolated for ingress until it is valid". Otherwise empty.
  std::string isolation;
  std::int64_t in_force_generation = 0;
  // Its spec, specs and, for a CIDR group, labels, as JSON.
  std::string in_force_rules;
  std::int64_t kept_generation = 0;   // of status.inForce; 0: not stored
  std::vector<std::string> warnings;  // of the newest version
  // status.conditions as last seen; null if the decoder does not report them.
  std::shared_ptr<const nlohmann::json> conditions;
};

// True for a CIDR group.
bool is_group(const ObjectKey& key);
// Returns a resourceVersion as a number; 0 if it is not one.
std::uint64_t version_number(const std::string& version);
// Returns the kind's index in vectors of resourceVersions; kPolicyKinds if it
// is no kind of policy.
std::size_t policy_kind_index(const std::string& kind);

// Holds the objects of the API server and passes their changes to the
// translator. Pure; used by one thread.
class ClusterStore {
 public:
  // The translator must outlive the store. `ns` is the namespace of the agents'
  // pods.
  ClusterStore(policy::Translator& translator, std::string ns,
               OnInvalid on_invalid = OnInvalid::kOpen);
  ClusterStore(const ClusterStore&) = delete;
  ClusterStore& operator=(const ClusterStore&) = delete;
  ClusterStore(ClusterStore&&) = delete;
  ClusterStore& operator=(ClusterStore&&) = delete;
  ~ClusterStore();

  // True if the translator received a change.
  bool take(const kube::Event& event);

  // Takes the last valid version of an object, a text of to_keep_elsewhere().
  // It comes into force if no other version of the object is in force. True if
  // the translator received a change.
  bool take_kept(const std::string& text);

  [[nodiscard]] const std::map<ObjectKey, PolicyObject>& policies() const;
  [[nodiscard]] const PolicyObject* policy(const ObjectKey& key) const;
  // Policies and groups that came, changed (their status too) or went since
  // the last call.
  std::vector<ObjectKey> take_changed();

  // Objects of other kinds whose newest version cannot be decoded, and why.
  // Their previous versions still count.
  [[nodiscard]] const std::map<ObjectKey, std::string>& undecodable() const;

  // Returns the strictest setting of the annotation sluice.io/on-unknown (allow
  // or deny) among the namespaces of the pods that a node expects. A pod cannot
  // be matched to an interface until it has an address, so the strictest
  // setting applies to all interfaces.
  [[nodiscard]] wire::OnUnknown on_unknown(const std::string& node) const;
  // Nodes whose on_unknown() may have changed since the last call.
  std::vector<std::string> take_on_unknown_changes();

  // Takes the addresses of pods that a node's agent knows before the pods'
  // status has them; see AnnouncedPods. True if the translator received a
  // change.
  bool announce(const std::string& node, bool begins,
                const std::vector<wire::PodAddress>& pods);
  // Takes all addresses that a node's agent has found on the node and reported
  // to this replica. The translator has them as long as the Node object exists.
  // True if the translator received a change.
  bool set_node_addresses(const std::string& node,
                          const std::vector<IpAddress>& addresses);
  // Takes the same report from another replica; it counts while the node's
  // agent is not connected here.
  bool set_node_addresses_elsewhere(const std::string& node,
                                    const std::vector<IpAddress>& addresses);
  // The agent has disconnected from this replica. The last report, here or
  // elsewhere, remains valid as long as the Node object exists. True if the
  // translator received a change.
  bool agent_left(const std::string& node);
  // Returns the reported addresses of a node; nullopt if there is no report.
  // `here`: only a report of an agent that is connected here.
  [[nodiscard]] std::optional<std::vector<IpAddress>> node_addresses(
      const std::string& node, bool here) const;
  // Nodes whose node_addresses() may have changed since the last call.
  std::vector<std::string> take_address_changes();

  // Nodes whose objects have come (true) or gone since the last call.
  std::map<std::string, bool> take_node_changes();

  // The names of all namespaces and pods.
  [[nodiscard]] const PodIndex& pods() const;

  // The node of a pod in the agents' namespace; empty if it is not known.
  [[nodiscard]] std::string node_of(const std::string& pod) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::op
