// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/base/ip.h"
#include "sluice/abi.h"

namespace sluice::flow {

// What one end of a flow was when the flow was seen. Immutable and shared by
// the flows of the same end, so that a stored flow is small.
struct End {
  // A pod; or the namespace of a Service whose address this is.
  std::string ns;
  std::string pod;
  std::string workload;       // what owns the pod, e.g. a Deployment
  std::string workload_kind;  // "Deployment"
  // "k8s:app=web", "reserved:world", sorted.
  std::vector<std::string> labels;
  std::string service;             // a Service whose address this is
  std::vector<std::string> names;  // by which the pod at the other end knows it
  std::uint32_t identity = 0;  // of an entity, by Cilium's numbers; 0 otherwise
  auto operator<=>(const End&) const = default;
};

struct PolicyName {
  std::string kind;
  std::string ns;  // empty for cluster-wide kinds
  std::string name;
  auto operator<=>(const PolicyName&) const = default;
};

// Why a flow has its verdict. Immutable and shared, like End.
struct Decision {
  // The policy whose rule decided; for the default deny, those that isolate.
  std::vector<PolicyName> policies;
  std::string path;  // of the rule in its policy; empty for built-in rules
  std::string log;   // what the policy asks to be logged with it
  auto operator<=>(const Decision&) const = default;
};

// What has been counted of a flow since it began.
struct Traffic {
  std::array<std::uint64_t, 2> packets{};  // by enum sluice_direction
  std::array<std::uint64_t, 2> bytes{};
  bool ended = false;
};

// A packet that began a flow or was dropped; or, if there is `traffic`, a flow
// that has gone on or ended; or, if `lost` is not 0, so many packets of which
// the kernel could not tell since the record before.
struct Record {
  std::uint64_t store = 0;   // random, of its store
  std::uint64_t number = 0;  // of its store: consecutive, from 1
  std::int64_t time = 0;     // nanoseconds since 1970
  IpAddress source;
  IpAddress destination;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;  // ICMP: type << 8 | code
  std::uint8_t protocol = 0;
  std::uint8_t tcp_flags = 0;
  std::uint8_t direction = 0;  // enum sluice_direction, as seen from the pod
  std::uint8_t reason = 0;     // enum sluice_reason
  bool allowed = false;
  bool reply = false;
  bool ip = false;  // false: no packet of IP, and no addresses
  std::uint32_t ifindex = 0;
  std::shared_ptr<const Traffic> traffic;
  std::uint64_t lost = 0;
  std::int64_t lost_since = 0;  // they are of the time from here to `time`
  // Never null once stored.
  std::shared_ptr<const End> from;
  std::shared_ptr<const End> to;
  std::shared_ptr<const Decision> decision;
};

}  // namespace sluice::flow
