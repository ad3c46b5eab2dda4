// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
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
inline constexpr Version kVersion{.major = 1, .minor = 7};
// From this one on, operators know what PodAddresses are.
inline constexpr std::uint32_t kAnnouncementsSince = 1;
// And from this one on, what NodeAddresses are.
inline constexpr std::uint32_t kNodeAddressesSince = 2;
// And from this one on, they answer questions.
inline constexpr std::uint32_t kQuestionsSince = 4;
// And from this one on, those for ends.
inline constexpr std::uint32_t kEndsSince = 6;
// From this one on, agents answer FlowRequests.
inline constexpr std::uint32_t kFlowsSince = 6;

// Of a pattern of names in a NameSelector, in bytes.
inline constexpr std::size_t kNamePatternMax = 255;

// Of one node; what is beyond it is left out by the agent and refused by the
// operator.
inline constexpr std::size_t kNodeAddressesMax = 1'024;

// What an agent asks the operator for. `id` is the agent's own.
struct Question {
  enum class Kind : std::uint8_t {
    kNames,    // of the owners of addresses
    kEnds,     // what is at addresses; see kEndsSince
    kExplain,  // the strings are set, as `sluice explain` takes them
    // What the policies of the agent's node say that is probably not meant; an
    // operator before version 1.6 answers with an error.
    kWarnings,
  };
  std::uint64_t id = 0;
  Kind kind = Kind::kNames;
  std::string from;
  std::string to;
  std::string port;
  std::vector<IpAddress> addresses;
  bool operator==(const Question&) const = default;
};
// Longer strings and more addresses are refused.
inline constexpr std::size_t kQuestionTextMax = 600;
inline constexpr std::size_t kQuestionAddressesMax = 4'096;
inline constexpr std::size_t kQuestionEndsMax = 1'024;  // addresses

// A policy, "Kind/namespace/name", and what it says that is probably not meant.
struct PolicyWarnings {
  std::string policy;
  std::vector<std::string> warnings;
  bool operator==(const PolicyWarnings&) const = default;
};

struct Answer {
  std::uint64_t id = 0;            // of the question
  std::string error;               // why there is none; or empty
  std::string explanation;         // JSON
  std::vector<std::string> names;  // of the addresses, in their order
  std::vector<std::string> ends;   // likewise; messages of lib/flow
  std::vector<PolicyWarnings> warnings = {};  // NOLINT(readability-redundant*)
  bool operator==(const Answer&) const = default;
};

// What an operator asks an agent for.
enum class FlowKind : std::uint8_t { kFlows, kStatus, kNamespaces };

// The operator wants to know what an agent has seen. The agent answers with one
// FlowBatch, and with one for every FlowControl that asks for more, until one
// is the last: what has not been asked for stays in the agent's store.
struct FlowRequest {
  std::uint64_t id = 0;  // the operator's own; no other request has had it
  FlowKind kind = FlowKind::kFlows;
  // kFlows: a message observer.GetFlowsRequest. kStatus: empty, or a request of
  // the agent's socket; see wire.proto.
  std::string request;
  std::uint32_t batch_bytes = 0;  // see FlowBatch; at most kFlowBatchBytesMax
  // If there are any: only flows with an end in one of them.
  std::vector<std::string> namespaces;
  bool operator==(const FlowRequest&) const = default;
};
// Larger ones are refused.
inline constexpr std::size_t kFlowRequestBytesMax = 65'536;
inline constexpr std::size_t kFlowNamespacesMax = 64;
inline constexpr std::uint32_t kFlowBatchBytesMax = 65'536;
inline constexpr std::size_t kFlowBatchItemsMax = 1'024;

struct FlowControl {
  std::uint64_t id = 0;  // of the request
  bool cancel = false;   // no batch is wanted any more; otherwise: one more
  bool operator==(const FlowControl&) const = default;
};

struct FlowBatch {
  struct Item {
    std::int64_t time = 0;  // nanoseconds since 1970
    std::string message;    // of package observer or JSON, see wire.proto
    bool operator==(const Item&) const = default;
  };
  std::uint64_t id = 0;  // of the request
  // In the order of time. The item that reaches the size asked for is the last
  // one.
  std::vector<Item> items;
  std::uint64_t lost = 0;  // flows overwritten before the items were read
  // All flows that there were have been given: those after this batch are new.
  bool caught_up = false;
  bool last = false;       // the request has ended
  std::uint32_t code = 0;  // why: a status code of gRPC; 0: as it should
  std::string error;
  bool operator==(const FlowBatch&) const = default;
};

// Of a node that one replica of the operator can ask on behalf of another.
struct RelayNode {
  std::string node;
  bool connected = false;  // anew; otherwise it can be asked no more
  bool gives_flows = false;
  bool operator==(const RelayNode&) const = default;
};

// One request to several nodes.
struct RelayRequest {
  struct To {
    std::string node;
    std::uint64_t id = 0;  // of the replica that asks
    bool operator==(const To&) const = default;
  };
  std::vector<To> to;
  std::shared_ptr<const FlowRequest> request;  // its id is not used
};

// What replicas say to each other about flows; see wire.proto.
using RelayMessage =
    std::variant<std::vector<RelayNode>, RelayRequest, FlowControl, FlowBatch>;
// In one message; more are refused.
inline constexpr std::size_t kRelayNodesMax = 500;

// What becomes of a pod's traffic while no verdict is known for the pod.
enum class OnUnknown : std::uint8_t {
  kAgentDefault,  // as the agent was installed
  kAllow,
  kDeny,
};

// Something that keeps a part of the wanted state from being in force. At most
// one of the first two says of what; both empty: of everything.
struct Failure {
  std::uint32_t policy_set = 0;
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

// The oldest version of a namespace's policies of a kind that a replica of the
// operator has seen and not taken in yet. `kind`: its place in
// NodeReport::in_force.
struct HeldVersion {
  std::string ns;
  std::uint32_t kind = 0;
  std::uint64_t version = 0;
  bool operator==(const HeldVersion&) const = default;
};
// A report has no more.
inline constexpr std::size_t kHeldMax = 16;

// How far the agent of one node is, as one replica of the operator tells it to
// another. Revisions are each replica's own; so progress is told as what of the
// API server's objects is in force there: `in_force` has a resourceVersion for
// every kind of policy, in an order that all replicas share, and `held` has the
// exceptions.
struct NodeReport {
  std::string node;
  bool connected = false;
  std::vector<std::uint64_t> in_force;
  std::vector<HeldVersion> held;
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
