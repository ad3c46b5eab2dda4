// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/reference/world.h"

// One function per policy language: which rules of one policy object say
// something of one packet at one pod.
namespace sluice::reference {

enum class Action : std::uint8_t { kAllow, kDeny, kPass };

// A packet, as the policy of one of its ends sees it.
struct Question {
  const World* world = nullptr;
  const Pod* subject = nullptr;
  bool egress = false;
  Peer peer;
  std::uint8_t protocol = 6;
  int port = 0;  // destination port; ICMP: type << 8 | code

  // The pod whose container ports a port name means; null if it is none.
  [[nodiscard]] const Pod* destination() const {
    return egress ? peer.pod : subject;
  }
};

// What one policy object says.
struct Said {
  bool isolates = false;        // default deny in this direction
  std::vector<Action> matches;  // of the rules that match, in their order
  // Of the allow rules that match whatever names the peer has, and of each of
  // their lists of ports that does: rules.dns, or null.
  std::vector<const json*> dns = {};  // NOLINT(readability-redundant*)
};

// CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy.
Said ask_cilium(const json& policy, const Question& question);
// networking.k8s.io NetworkPolicy.
Said ask_network_policy(const json& policy, const Question& question);
// policy.networking.k8s.io ClusterNetworkPolicy; never isolates.
Said ask_cluster_policy(const json& policy, const Question& question);

// Kubernetes' label selector on plain labels: keys have no source.
bool selects(const json& selector, const Labels& labels);
// One operator with its values, given the label's value if there is one.
bool holds(const std::string& op, const json& values,
           const std::optional<std::string>& value);

// The address is in `cidr` (a prefix or one address) and in none of `except`.
bool in_cidr(const Peer& peer, const std::string& cidr, const json& except);
bool in_prefix(const Peer& peer, const IpPrefix& prefix);

// The destination's container port of that name; the last one wins.
std::optional<ContainerPort> find_port(const Pod* pod, const std::string& name);

}  // namespace sluice::reference
