// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "lib/base/ip.h"

// The reference evaluator's own view of a cluster, straight from the objects.
// It shares nothing with lib/kube and lib/policy but addresses.
namespace sluice::reference {

using nlohmann::json;

// The member, or JSON null where it (or its parent) is absent.
const json& get(const json& object, std::string_view key);
std::string text(const json& value);  // empty where it is no string
bool absent(const json& value);  // null: neither absent nor null is "empty"

using Labels = std::map<std::string, std::string>;
Labels labels_of(const json& object);  // a map of strings; empty if none

struct ContainerPort {
  std::string name;  // lower case
  int number = 0;
  std::uint8_t protocol = 6;
};

struct HostPort {
  int number = 0;
  std::uint8_t protocol = 6;
  int target = 0;
  std::string ip;  // empty: every address of the node
};

struct Pod {
  std::string ns;
  std::string name;
  Labels labels;
  std::string node;
  std::string service_account;
  bool host_network = false;
  bool finished = false;
  std::vector<IpAddress> ips;
  std::vector<ContainerPort> ports;
  std::vector<HostPort> host_ports;
};

struct CidrGroup {
  std::string name;
  Labels labels;
  std::vector<IpPrefix> cidrs;
};

struct World {
  std::map<std::string, Labels> namespaces;
  std::map<std::string, std::vector<IpAddress>> nodes;
  std::map<std::string, Labels> node_labels;
  std::map<std::string, Pod> pods;  // by "namespace/name"
  std::map<std::string, CidrGroup> groups;
  std::vector<IpAddress> api_server;
  std::vector<std::shared_ptr<const json>> policies;
  std::vector<std::shared_ptr<const json>> services;
  std::vector<std::shared_ptr<const json>> slices;

  void add(const std::shared_ptr<const json>& object);
  [[nodiscard]] Labels namespace_labels(const std::string& ns) const;
};

// A name that DNS has told a pod for an address.
struct LearnedName {
  std::string name;
  bool by_resolver = true;  // one of the cluster's has told it
};

// Who is at the other end, as one pod sees it.
struct Peer {
  const Pod* pod = nullptr;     // a pod with labels, i.e. not host network
  std::optional<IpAddress> ip;  // none for an entity without a known address
  bool v6 = false;
  bool host = false;               // the pod's own node
  bool remote_node = false;        // any other node
  std::vector<std::string> nodes;  // which, where that is known
  bool api_server = false;         // alone: outside the cluster
  std::string reserved;            // health, init, unmanaged, ingress, or empty
  bool whole_world = false;  // world-ipv4, world-ipv6: in no prefix but /0
  // For which DNS has given the address to the pod that asks.
  std::vector<LearnedName> names = {};  // NOLINT(readability-redundant*)

  // Neither a pod nor a node nor reserved.
  [[nodiscard]] bool world() const {
    return pod == nullptr && !host && !remote_node && reserved.empty();
  }
};

// "TCP", "UDP", "SCTP" to the number; TCP where it is empty; 0 if unknown.
std::uint8_t protocol_number(std::string_view name);
std::string lower(std::string value);

}  // namespace sluice::reference
