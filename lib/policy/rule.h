// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lib/base/ip.h"
#include "lib/dns/pattern.h"

// Policies after parsing: what the translator works on. The four kinds of
// policy objects (and ClusterNetworkPolicy) all become these.
namespace sluice::policy {

enum class Direction : std::uint8_t { kIngress = 0, kEgress = 1 };
enum class Action : std::uint8_t { kAllow, kDeny, kPass };
// Evaluated in this order; CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy
// and NetworkPolicy are all kNormal.
enum class Tier : std::uint8_t { kAdmin, kNormal, kBaseline };

// One term of a label selector. `key` is normalised: "k8s:x", "any:x" and "x"
// are "x"; every other source prefix is kept ("reserved:host"). Generated keys:
//   io.kubernetes.pod.namespace, io.cilium.k8s.namespace.labels.<key>,
//   io.cilium.k8s.policy.serviceaccount, io.cilium.k8s.policy.cluster
struct Requirement {
  enum class Op : std::uint8_t { kIn, kNotIn, kExists, kDoesNotExist };
  std::string key;
  Op op = Op::kExists;
  std::vector<std::string> values;  // sorted, unique; kIn and kNotIn only
  auto operator<=>(const Requirement&) const = default;
};

// All requirements hold. kNotIn and kDoesNotExist hold where the key is absent.
// No requirements: matches everything that has labels at all, so a parser adds
// the scope (namespace, cluster) that its policy language implies.
struct LabelSelector {
  std::vector<Requirement> requirements;  // sorted, unique
  auto operator<=>(const LabelSelector&) const = default;
};

// `all` is not here: it is Rule::any_peer. `none` is an empty peer list.
enum class Entity : std::uint8_t {
  kWorld,
  kCluster,
  kHost,
  kRemoteNode,
  kKubeApiserver,
  kHealth,
  kInit,
  kUnmanaged,
  kIngress,
};

struct CidrPeer {
  IpPrefix cidr;
  std::vector<IpPrefix> except;  // sorted; host bits cleared
  // CiliumNetworkPolicy: only addresses of no pod and no node.
  // NetworkPolicy ipBlock, ClusterNetworkPolicy networks: false, any address.
  bool external_only = false;
  auto operator<=>(const CidrPeer&) const = default;
};

// CiliumCIDRGroup by name or by labels, group by group. Always external only.
struct CidrGroupPeer {
  std::string name;                       // used when `selector` is not set
  std::optional<LabelSelector> selector;  // on the group's labels
  std::vector<IpPrefix> except;           // sorted
  auto operator<=>(const CidrGroupPeer&) const = default;
};

// CiliumNetworkPolicy's toServices: what stands behind one Service, or behind
// those whose labels match. Never reaches the selector cache: see
// Services::expand().
struct ServicePeer {
  std::string ns;    // empty with `selector`: of every namespace
  std::string name;  // used when `selector` is not set
  std::optional<LabelSelector> selector;
  auto operator<=>(const ServicePeer&) const = default;
};

// ClusterNetworkPolicy's nodes: every address of the nodes whose own labels
// match.
struct NodePeer {
  LabelSelector selector;
  auto operator<=>(const NodePeer&) const = default;
};

// The addresses that DNS answers to the subject give for a name: egress allow
// rules only.
struct NamePeer {
  dns::NamePattern pattern;
  // CiliumNetworkPolicy: only addresses of no pod and no node, by the answers
  // of all servers that the subject may ask. ClusterNetworkPolicy domainNames:
  // false, any address, by the answers of the cluster's resolvers: who may
  // write policies of a namespace must not decide what such a name is.
  bool external_only = false;
  auto operator<=>(const NamePeer&) const = default;
};

using PeerSelector =
    std::variant<LabelSelector, Entity, CidrPeer, CidrGroupPeer, ServicePeer,
                 NodePeer, NamePeer>;

// A range of destination ports, both ends included. ICMP and ICMPv6: the type
// is the high byte, the code the low one, so type t is t<<8 .. t<<8|255.
struct PortRange {
  std::uint8_t protocol = 0;  // IPPROTO_*
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  auto operator<=>(const PortRange&) const = default;
};

struct NamedPort {
  std::string name;            // lower case
  std::uint8_t protocol = 0;   // 0 = TCP, UDP or SCTP, as the container says
  std::uint16_t end_port = 0;  // not 0 and above the number: a range up to it
  auto operator<=>(const NamedPort&) const = default;
};

// `any`: every IP protocol. Otherwise what one of the lists names; nothing if
// both are empty.
struct L4 {
  bool any = false;
  std::vector<PortRange> ranges;
  std::vector<NamedPort> named;
  bool operator==(const L4&) const = default;
};

// What a rule with it allows is DNS: only questions for these names, and what
// the answers say is learned.
struct DnsRule {
  std::vector<dns::NamePattern> names;  // sorted, unique, not empty
  std::string path;                     // "spec.egress[0].toPorts[0].rules.dns"
  bool operator==(const DnsRule&) const = default;
};

// One element of ingress, ingressDeny, egress or egressDeny. An element whose
// ports have different DNS rules becomes several of them, with the same path.
struct Rule {
  Direction direction = Direction::kIngress;
  Action action = Action::kAllow;
  bool any_peer = false;            // then `peers` is empty
  std::vector<PeerSelector> peers;  // any of them; none: selects nobody
  L4 l4;
  // Egress allow rules only; `l4` then has single ports of TCP and UDP.
  std::optional<DnsRule> dns;
  std::string path;  // "spec.ingress[0]": where the rule stands in its object
  std::string name;  // the rule's own name, where the language has one
  bool operator==(const Rule&) const = default;
};

// One subject with its rules: a spec, or an element of specs.
struct Spec {
  LabelSelector subject;               // of pods; namespace scope included
  std::array<bool, 2> default_deny{};  // by Direction: isolates its subjects
  std::vector<Rule> rules;  // ClusterNetworkPolicy: in order of evaluation
  bool log = false;         // report new flows that these rules allow
  std::string log_value;
  bool operator==(const Spec&) const = default;
};

struct PolicyKey {
  std::string kind;  // "NetworkPolicy", "CiliumNetworkPolicy", ...
  std::string ns;    // empty for cluster-wide kinds
  std::string name;
  auto operator<=>(const PolicyKey&) const = default;
};

struct Policy {
  PolicyKey key;
  Tier tier = Tier::kNormal;
  std::int32_t priority = 0;  // within its tier, lower first; kNormal: 0
  std::vector<Spec> specs;
  std::vector<std::string> warnings;  // accepted, but likely not what was meant
  bool operator==(const Policy&) const = default;
};

// "kind/namespace/name" or "kind/name".
std::string to_string(const PolicyKey& key);

}  // namespace sluice::policy
