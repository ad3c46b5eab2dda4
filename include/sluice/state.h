// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/ip.h"
#include "sluice/abi.h"

// The desired state of one node's kernel, and changes of it: the contract
// between the translator and the agent. Values; knows nothing of Kubernetes or
// of BPF file descriptors.
namespace sluice {

// Orders keys field by field.
struct PolicyKeyLess {
  bool operator()(const sluice_policy_key& a, const sluice_policy_key& b) const;
};
bool equal(const sluice_policy_key& a, const sluice_policy_key& b);
bool equal(const sluice_policy_value& a, const sluice_policy_value& b);

// `key.policy_id` is the id of the policy set (31 bits, not 0), without the
// generation bit, which only the applier uses.
struct PolicyEntry {
  sluice_policy_key key{};
  sluice_policy_value value{};
  bool operator==(const PolicyEntry& other) const {
    return equal(key, other.key) && equal(value, other.value);
  }
};

// An address (prefix of full length) or a prefix and its peer class.
struct PeerEntry {
  IpPrefix prefix;
  std::uint32_t cidr_id = 0;
  bool operator==(const PeerEntry&) const = default;
};

// Permissions that an administrator can grant to a pod's namespace.
inline constexpr std::uint32_t kPermissions =
    SLUICE_EP_ANY_ETHERTYPE | SLUICE_EP_TUNNELS | SLUICE_EP_ANY_NEIGHBOUR;

struct EndpointEntry {
  std::string name;                // "namespace/pod"
  std::uint32_t policy_set = 0;    // 0 = none
  std::array<bool, 2> isolated{};  // by enum sluice_direction
  std::vector<IpAddress> ips;      // at most one of each family
  std::string interface;  // from the annotation sluice.io/interface; or empty
  // The permissions of the pod's namespace: bits of kPermissions, or 0.
  std::uint32_t permits = 0;
  bool operator==(const EndpointEntry&) const = default;
};

// The meaning of a rule id, for people.
struct RuleInfo {
  std::uint32_t id = 0;
  std::string policy;  // "CiliumNetworkPolicy/default/web"
  std::string path;    // "spec.ingress[0]"
  std::string action;  // "allow", "deny"
  std::string log_value;
  bool operator==(const RuleInfo&) const = default;
};

// The policies of a set, and which of them isolate a direction.
struct PolicySetInfo {
  std::uint32_t id = 0;
  std::vector<std::string> policies;  // sorted
  std::array<std::vector<std::string>, 2> isolating;
  // Why the set has no entries and its endpoints are isolated; or empty.
  std::string problem;
  bool operator==(const PolicySetInfo&) const = default;
};

// A pattern of DNS names, whose id stands in entries in place of a peer class.
struct NameSelector {
  std::uint32_t id = 0;
  std::string pattern;  // as dns::NamePattern::text()
  bool operator==(const NameSelector&) const = default;
};

// A DNS server of the cluster, whose answers count for every endpoint.
struct Resolver {
  IpAddress address;
  std::uint16_t port = 0;
  std::uint8_t protocol = 0;  // IPPROTO_TCP or IPPROTO_UDP
  auto operator<=>(const Resolver&) const = default;
};

// The whole state, sorted: peers by prefix, entries by key, resolvers by all
// their members, the rest by id or name.
struct State {
  std::vector<PeerEntry> peers;
  std::vector<PolicyEntry> entries;
  std::vector<EndpointEntry> endpoints;
  std::vector<RuleInfo> rules;
  std::vector<PolicySetInfo> sets;
  std::vector<NameSelector> names;
  std::vector<Resolver> resolvers;
};

// A set of changes that takes effect as a whole. An absent value = removed.
// Removing an absent element is no error.
struct Transaction {
  struct PeerChange {
    IpPrefix prefix;
    std::optional<std::uint32_t> cidr_id;
  };
  struct EntryChange {
    sluice_policy_key key{};
    std::optional<sluice_policy_value> value;
  };
  struct EndpointChange {
    std::string name;
    std::optional<EndpointEntry> value;
  };
  struct RuleChange {
    std::uint32_t id = 0;
    std::optional<RuleInfo> value;
  };
  struct SetChange {
    std::uint32_t id = 0;
    std::optional<PolicySetInfo> value;
  };
  struct NameChange {
    std::uint32_t id = 0;
    std::optional<NameSelector> value;
  };
  struct ResolverChange {
    Resolver resolver;
    bool present = false;  // false = removed
  };

  std::uint64_t revision = 0;
  std::vector<PeerChange> peers;
  std::vector<EntryChange> entries;
  std::vector<EndpointChange> endpoints;
  std::vector<RuleChange> rules;
  std::vector<SetChange> sets;
  std::vector<NameChange> names;
  std::vector<ResolverChange> resolvers;

  // True if the maps of policy need no write; `rules`, `sets`, `names` and
  // `resolvers` may still have changed.
  [[nodiscard]] bool empty() const {
    return peers.empty() && entries.empty() && endpoints.empty();
  }
};

// The changes that turn `from` into `to`. Linear in the sizes of both.
Transaction diff(const State& from, const State& to);
// `state` after `transaction`; stays sorted.
void apply(State& state, const Transaction& transaction);

}  // namespace sluice
