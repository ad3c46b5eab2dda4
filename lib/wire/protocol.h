// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/ip.h"

// The words that operator and agent share; what goes over the wire is in
// wire.proto.
namespace sluice::wire {

// Two ends understand each other if they have the same major version. A minor
// version adds fields and messages that the older end passes over.
struct Version {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  bool operator==(const Version&) const = default;
};
inline constexpr Version kVersion{.major = 1, .minor = 5};
// From this one on, operators know what PodAddresses are.
inline constexpr std::uint32_t kAnnouncementsSince = 1;
// And from this one on, what NodeAddresses are.
inline constexpr std::uint32_t kNodeAddressesSince = 2;
// And from this one on, they answer questions.
inline constexpr std::uint32_t kQuestionsSince = 4;

// Of a pattern of names in a NameSelector, in bytes.
inline constexpr std::size_t kNamePatternMax = 255;

// Of one node; what is beyond it is left out by the agent and refused by the
// operator.
inline constexpr std::size_t kNodeAddressesMax = 1'024;

// What an agent asks the operator for. `id` is the agent's own. Either the
// strings are set, as `sluice explain` takes them, or the addresses, whose
// names are wanted.
struct Question {
  std::uint64_t id = 0;
  bool explain = false;
  std::string from;
  std::string to;
  std::string port;
  std::vector<IpAddress> addresses;
  bool operator==(const Question&) const = default;
};
// Longer strings and more addresses are refused.
inline constexpr std::size_t kQuestionTextMax = 600;
inline constexpr std::size_t kQuestionAddressesMax = 4'096;

struct Answer {
  std::uint64_t id = 0;            // of the question
  std::string error;               // why there is none; or empty
  std::string explanation;         // JSON
  std::vector<std::string> names;  // of the addresses, in their order
  bool operator==(const Answer&) const = default;
};

// What becomes of a pod's traffic while no verdict is known for the pod.
enum class OnUnknown : std::uint8_t {
  kAgentDefault,  // as the agent was installed
  kAllow,
  kDeny,
};

// Something that keeps a part of the wanted state from being in force. At most
// one of the first three says of what; all empty: of everything.
struct Failure {
  std::uint32_t policy_set = 0;
  std::string map;       // of the kernel: "policy", "peers4"
  std::string endpoint;  // "namespace/pod"
  std::string message;
  bool operator==(const Failure&) const = default;
};

// How far an agent is. `applied` < `received`: the rest could not be put into
// force; the agent keeps trying.
struct Ack {
  std::uint64_t received = 0;  // revision
  std::uint64_t applied = 0;   // revision
  std::vector<Failure> failures;
  bool operator==(const Ack&) const = default;
};

// The addresses of a pod as its node knows them, by whoever gave them to it.
struct PodAddress {
  std::string ns;
  std::string name;
  std::string uid;             // may be empty
  std::vector<IpAddress> ips;  // none: they are withdrawn
  std::string interface;       // the node's end
  bool operator==(const PodAddress&) const = default;
};

// False for addresses that no pod can have: unspecified, loopback, link-local,
// multicast and the like.
bool may_be_pods(const IpAddress& ip);

// How far the agent of one node is, as one replica of the operator tells it to
// another. Revisions are each replica's own; so progress is told as what of the
// API server's objects is in force there: `in_force` has a resourceVersion for
// every kind of policy, in an order that all replicas share.
struct NodeReport {
  std::string node;
  bool connected = false;
  std::vector<std::uint64_t> in_force;
  std::vector<Failure> failures;
  // That the agent has found on the node; not set: it has not said.
  std::optional<std::vector<IpAddress>> addresses = std::nullopt;
  bool operator==(const NodeReport&) const = default;
};

// The addresses that the agent of a node has found there, all of them.
struct FoundAddresses {
  std::string node;
  std::vector<IpAddress> addresses;
  bool operator==(const FoundAddresses&) const = default;
};

}  // namespace sluice::wire
