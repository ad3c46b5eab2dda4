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

namespace sluice::op {

// The kinds of policy, by their index in vectors of resourceVersions.
inline constexpr std::size_t kPolicyKinds = 4;

// A policy or a CIDR group of the API server, and which version of it is in
// force. The newest version is if it is valid; else the last one that was.
struct PolicyObject {
  ObjectKey key;
  const kube::Resource* resource = nullptr;
  std::string uid;
  std::int64_t generation = 0;
  // The first one with this generation; 0 if it is no number. Versions of one
  // resource are compared as numbers: Kubernetes' API concepts, "Resource
  // versions" (promised from 1.35 on, true of etcd's in all versions before).
  std::uint64_t resource_version = 0;
  std::string latest_version;  // resourceVersion as it is now
  bool valid = false;          // the newest version is
  std::string reason;          // why not
  bool in_force = false;       // some version is
  // What stands in for an invalid policy without one in force, for people:
  // "its pods are isolated for ingress until it is valid". Else empty.
  std::string isolation;
  std::int64_t in_force_generation = 0;
  std::string in_force_rules;        // of a policy: its spec and specs, as JSON
  std::int64_t kept_generation = 0;  // of what status.inForce has; 0: nothing
  std::vector<std::string> warnings;  // of the newest version
  // status.conditions as last seen; null if the decoder does not tell them.
  std::shared_ptr<const nlohmann::json> conditions;
};

// What status.inForce is to keep while a version is in force that is not the
// newest, for operators that start afterwards: its generation and, as text, its
// spec and specs. Null if there is nothing to be kept.
nlohmann::json to_keep(const PolicyObject& object);
// A resourceVersion as a number; 0 if it is none.
std::uint64_t version_number(const std::string& version);
// Index of the kind in vectors of resourceVersions; kPolicyKinds if it is none.
std::size_t policy_kind_index(const std::string& kind);

// What the API server has, told to the translator as it changes. Pure; used by
// one thread.
class ClusterStore {
 public:
  // The translator must outlive the store. `ns`: where the agents' pods are.
  ClusterStore(policy::Translator& translator, std::string ns,
               OnInvalid on_invalid = OnInvalid::kOpen);
  ClusterStore(const ClusterStore&) = delete;
  ClusterStore& operator=(const ClusterStore&) = delete;
  ClusterStore(ClusterStore&&) = delete;
  ClusterStore& operator=(ClusterStore&&) = delete;
  ~ClusterStore();

  // True if the translator was told anything.
  bool take(const kube::Event& event);

  [[nodiscard]] const std::map<ObjectKey, PolicyObject>& policies() const;
  [[nodiscard]] const PolicyObject* policy(const ObjectKey& key) const;
  // Policies and groups that came, changed (their status too) or went since
  // the last call.
  std::vector<ObjectKey> take_changed();

  // Objects of other kinds of which the newest version cannot be decoded, and
  // why. What they were before counts.
  [[nodiscard]] const std::map<ObjectKey, std::string>& undecodable() const;

  // What the namespaces of the pods that a node awaits say of pods that no
  // verdict is known for (annotation sluice.io/on-unknown: allow or deny):
  // which interface will be which pod's nobody knows before the pod has its
  // address, so the strictest of them counts.
  [[nodiscard]] wire::OnUnknown on_unknown(const std::string& node) const;
  // Nodes of which on_unknown() may have changed since the last call.
  std::vector<std::string> take_on_unknown_changes();

  // What a node's agent knows of its pods' addresses before their status has
  // them; see AnnouncedPods. True if the translator was told anything.
  bool announce(const std::string& node, bool begins,
                const std::vector<wire::PodAddress>& pods);
  // All addresses that a node's agent has found on it, as it has said to this
  // replica; told to the translator as long as there is an object of the node.
  // True if that was told anything.
  bool set_node_addresses(const std::string& node,
                          const std::vector<IpAddress>& addresses);
  // The same as another replica has it; counts while no agent is connected
  // here.
  bool set_node_addresses_elsewhere(const std::string& node,
                                    const std::vector<IpAddress>& addresses);
  // The agent is not connected here any more. What was said last, here or
  // elsewhere, stays for as long as there is an object of the node. True if the
  // translator was told anything.
  bool agent_left(const std::string& node);
  // What has been said of a node's addresses; nothing if nobody has. `here`: by
  // an agent that is connected here.
  [[nodiscard]] std::optional<std::vector<IpAddress>> node_addresses(
      const std::string& node, bool here) const;
  // Nodes of which node_addresses() may have changed since the last call.
  std::vector<std::string> take_address_changes();

  // The node of a pod in the agents' namespace; empty if it is not known.
  [[nodiscard]] std::string node_of(const std::string& pod) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::op
