// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
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

struct Pod {
  std::string ns;
  std::string name;
  Labels labels;
  Labels annotations;  // only those whose key begins with "sluice.io/"
  std::string node;
  std::string service_account;  // "default" where the object names none
  bool host_network = false;
  bool finished = false;  // phase Succeeded or Failed: its addresses are free
  std::vector<IpAddress> ips;
  std::vector<ContainerPort> ports;  // named ports, in order of appearance
  bool operator==(const Pod&) const = default;
};

struct Node {
  std::string name;
  Labels labels;
  std::vector<IpAddress> ips;  // InternalIP and ExternalIP
  bool operator==(const Node&) const = default;
};

struct EndpointSlice {
  std::string ns;
  std::string name;
  std::string service;               // label kubernetes.io/service-name
  std::vector<IpAddress> addresses;  // of ready endpoints
  bool operator==(const EndpointSlice&) const = default;
};

struct CidrGroup {
  std::string name;
  Labels labels;
  std::vector<IpPrefix> cidrs;
  bool operator==(const CidrGroup&) const = default;
};

}  // namespace sluice::kube
