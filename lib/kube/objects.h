// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/ip.h"

// Kubernetes objects, reduced to the fields that network policy needs.
// Plain values; no thread of their own.
namespace sluice::kube {

using Labels = std::map<std::string, std::string, std::less<>>;

struct Namespace {
  std::string name;
  Labels labels;
  Labels annotations;  // only those whose key begins with "sluice.io/"
  bool operator==(const Namespace&) const = default;
};

struct ContainerPort {
  std::string name;  // lower case
  std::uint16_t port = 0;
  std::uint8_t protocol = 6;  // IPPROTO_*
  bool operator==(const ContainerPort&) const = default;
};

// A port of the node that leads to the pod.
struct HostPort {
  std::uint8_t protocol = 6;
  std::uint16_t host_port = 0;
  std::uint16_t port = 0;  // the pod's own
  // Not empty: only this address of the node leads to the pod.
  std::optional<IpAddress> host_ip = {};  // NOLINT(readability-redundant*)
  bool operator==(const HostPort&) const = default;
};

// The object that created a pod and replaces it; empty: nobody does.
struct Owner {
  std::string kind;  // "ReplicaSet"
  std::string name;
  bool operator==(const Owner&) const = default;
};

struct Pod {
  std::string ns;
  std::string name;
  Labels labels;
  Labels annotations;  // only those whose key begins with "sluice.io/"
  std::string node;
  std::string service_account;  // "default" where the object names none
  bool host_network = false;
  bool finished = false;  // phase Succeeded or Failed: its addresses are free
  // The digits of metadata.creationTimestamp, "20260102150405"; 0: unknown.
  std::uint64_t created = 0;
  Owner controller = {};  // NOLINT(readability-redundant*)
  std::vector<IpAddress> ips;
  std::vector<ContainerPort> ports;       // named ports, in order of appearance
  std::vector<HostPort> host_ports = {};  // NOLINT(readability-redundant*)
  bool operator==(const Pod&) const = default;
};

struct Node {
  std::string name;
  Labels labels;
  std::vector<IpAddress> ips;            // InternalIP and ExternalIP
  std::vector<IpPrefix> pod_cidrs = {};  // NOLINT(readability-redundant*)
  bool operator==(const Node&) const = default;
};

struct ServicePort {
  std::string name;  // empty if the Service has but one
  std::uint8_t protocol = 6;
  std::uint16_t port = 0;
  std::uint16_t target_port = 0;  // 0: `target_name` says it
  std::string target_name;        // a named port of the pods, lower case
  std::uint16_t node_port = 0;    // 0 = none
  bool operator==(const ServicePort&) const = default;
};

// Which hints of EndpointSlices a Service asks for, by its trafficDistribution
// or annotation.
enum class Closeness : std::uint8_t {
  kNone,  // none, or a value whose meaning is not known
  kZone,
  kNode,
};

struct Service {
  std::string ns;
  std::string name;
  Labels labels;
  Labels selector;   // of pods; empty: somebody else makes the EndpointSlices
  std::string type;  // "ClusterIP", "NodePort", ...
  std::vector<IpAddress> cluster_ips;   // of both families; headless: none
  std::vector<IpAddress> external_ips;  // spec.externalIPs
  // status.loadBalancer.ingress, without addresses that the node does not
  // rewrite (ipMode Proxy), which are addresses like any other.
  std::vector<IpAddress> load_balancer_ips;
  std::vector<ServicePort> ports;
  bool headless = false;           // clusterIP "None"
  bool publish_not_ready = false;  // every endpoint counts as ready
  bool internal_local = false;     // internalTrafficPolicy "Local"
  bool external_local = false;     // externalTrafficPolicy "Local"
  Closeness closeness = Closeness::kNone;
  bool operator==(const Service&) const = default;
};

struct SlicePort {
  std::string name;  // that of the Service's port
  std::uint8_t protocol = 6;
  std::uint16_t port = 0;  // the target's own; 0: not said
  bool operator==(const SlicePort&) const = default;
};

struct SliceEndpoint {
  std::vector<IpAddress> addresses;  // of one endpoint, which are alike
  bool ready = true;                 // where the object does not say, it is
  bool serving = true;               // likewise as `ready`
  bool terminating = false;
  // The node on which the endpoint is; empty if the object does not say it.
  std::string node = {};  // NOLINT(readability-redundant*)
  // Hints: the zones and nodes that the endpoint should serve.
  std::vector<std::string> for_zones = {};  // NOLINT(readability-redundant*)
  std::vector<std::string> for_nodes = {};  // NOLINT(readability-redundant*)
  bool operator==(const SliceEndpoint&) const = default;
};

struct EndpointSlice {
  std::string ns;
  std::string name;
  std::string service;  // label kubernetes.io/service-name
  std::vector<SlicePort> ports;
  std::vector<SliceEndpoint> endpoints;
  bool operator==(const EndpointSlice&) const = default;
  // Addresses of ready endpoints, each once, in order of appearance.
  [[nodiscard]] std::vector<IpAddress> ready_addresses() const;
};

struct CidrGroup {
  std::string name;
  Labels labels;
  std::vector<IpPrefix> cidrs;
  bool operator==(const CidrGroup&) const = default;
};

}  // namespace sluice::kube
