// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/result.h"
#include "lib/dns/name.h"
#include "lib/kube/objects.h"
#include "lib/policy/near_miss.h"
#include "lib/policy/occupant.h"
#include "lib/policy/rule.h"
#include "sluice/state.h"

namespace sluice::policy {

struct TranslatorOptions {
  std::string cluster_name = "default";
  // CIDR peers of CiliumNetworkPolicy match pods and nodes too
  // (`cidr-match: all`); default: external addresses only.
  bool cidr_match_all = false;
  // Entries of the policy map that the policies of one pod may become; 0: as
  // many as they need. Pods whose policies would become more are isolated; see
  // shortfall().
  std::size_t max_set_entries = kMaxSetEntries;
  static constexpr std::size_t kMaxSetEntries = 32'768;
  // Entries that the pods of one namespace to which its own policies apply may
  // need together; 0: as many as they need. Pods whose policies would exceed
  // this are isolated; see shortfall().
  std::size_t max_namespace_entries = 0;
};

// Turns Kubernetes objects and parsed policies into policy-map entries, peer
// classes and endpoints. Pure: no I/O, no clock. Incremental: a change costs
// work in proportion to what it touches. Ids are hashes of what they stand for,
// so two translators with the same input give the same ids.
//
// Not thread-safe; one thread calls it.
class Translator {
 public:
  explicit Translator(TranslatorOptions options = {});
  ~Translator();
  Translator(Translator&&) noexcept;
  Translator& operator=(Translator&&) noexcept;
  Translator(const Translator&) = delete;
  Translator& operator=(const Translator&) = delete;

  // Insert or replace. Objects may come in any order (a pod before its
  // namespace, a policy before the groups it names).
  void set(const kube::Namespace& object);
  void set(const kube::Pod& object);
  void set(const kube::Node& object);
  void set(const kube::Service& object);
  void set(const kube::EndpointSlice& object);
  void set(const kube::CidrGroup& object);
  void set(const Policy& policy);

  // What the node's agent has found on the node, all of it, beside the
  // addresses that its object names. Believed are those that can be the node's:
  // not loopback, multicast and link-local ones, nor what a pod, a Service or
  // another node's object has, nor what lies in another node's pod CIDRs. Until
  // the node is removed; ignored for one that is not known. The view of this
  // node has an exact peer for every address that is told here.
  void set_node_addresses(const std::string& node,
                          const std::vector<IpAddress>& addresses);

  // Removing what is not there does nothing.
  void remove_namespace(const std::string& name);
  void remove_pod(const std::string& ns, const std::string& name);
  void remove_node(const std::string& name);
  void remove_service(const std::string& ns, const std::string& name);
  void remove_endpoint_slice(const std::string& ns, const std::string& name);
  void remove_cidr_group(const std::string& name);
  void remove_policy(const PolicyKey& key);

  // An address that is neither pod, node nor world: kHealth, kInit, kUnmanaged
  // or kIngress (other entities are derived from objects); nullopt removes it.
  void set_reserved(const IpAddress& address, std::optional<Entity> entity);

  // Starts to keep a view of `node`: its pods' endpoints and policy sets, and
  // of the peers those of which these sets say something else than of any peer.
  // Calling it again starts the view over, so that the next take() gives
  // everything.
  void watch_node(const std::string& node);
  void forget_node(const std::string& node);

  // What changed in the node's view since the last take(); the first one gives
  // the whole view. The node must be watched.
  Transaction take(const std::string& node);

  // The watched nodes for which take() may give something, sorted. Costs
  // nothing for the others.
  [[nodiscard]] std::vector<std::string> changed_nodes();

  // The node's whole view, sorted. The node need not be watched.
  [[nodiscard]] State snapshot(const std::string& node) const;

  // True if a node, or a pod that is not on `node`, has the address.
  [[nodiscard]] bool is_taken(const IpAddress& address,
                              const std::string& node) const;

  // Calls `visit` for every pod that the policy selects and that is a subject
  // of policy: with an address, not finished, not in its node's network. A pod
  // that several specs of it select may come more than once.
  void visit_subjects(const PolicyKey& key,
                      const std::function<void(const kube::Pod&)>& visit) const;

  // Why pods that the policy selects are isolated instead of getting what it
  // says, in numbers: they would need more entries than a set may have. Empty:
  // they get it.
  [[nodiscard]] std::string shortfall(const PolicyKey& key) const;
  // What the policy says that is probably not meant, as far as the pods that
  // are there show: peers that no pod has ever matched, ports by names that no
  // selected pod has, egress without DNS. For people.
  [[nodiscard]] std::vector<std::string> warnings(const PolicyKey& key) const;
  // The policies that apply to a pod of the node, sorted.
  [[nodiscard]] std::vector<PolicyKey> policies_on(
      const std::string& node) const;
  // Whether the policy fits into a set's bound where nothing else selects its
  // pods, as far as it alone can tell: by its CIDRs and ports. It may not name
  // more CIDRs and excepts than the bound, either. An error (E2BIG)
  // has the numbers.
  [[nodiscard]] Result<void> check_size(const Policy& policy) const;

  // Why a packet is allowed or denied at one end, by the rules themselves.
  struct Question {
    std::string subject;  // "namespace/pod", whose policy is asked
    Direction direction = Direction::kIngress;
    IpAddress peer;
    std::uint8_t protocol = 6;
    std::uint16_t port = 0;  // destination port; ICMP: type << 8 | code
    // At egress: the names for which the peer's address counts as learned.
    std::vector<dns::Name> names = {};  // NOLINT(readability-redundant*)
    [[nodiscard]] Packet packet() const {
      return {.direction = direction,
              .peer = peer,
              .protocol = protocol,
              .port = port};
    }
  };
  struct Answer {
    bool allowed = false;
    bool isolated = false;
    sluice_reason reason = SLUICE_REASON_INTERNAL;  // as flow events give it
    std::optional<PolicyEntry> entry;  // that the datapath finds, if any
    std::uint32_t rule = 0;  // enum sluice_builtin_rule or an id in `rules`
    RuleInfo decided;        // policy and path are empty for built-in rules
    std::string pattern;     // of the names for which the entry is, if any
    std::vector<std::string> isolating;  // policies that isolate the direction
    std::string problem;  // why the rules do not count; see shortfall()
    std::vector<NearMiss> near_misses;  // the nearest first
    // Where the address is that of a Service (or, at a node port, a node's) and
    // the port one of its ports: what stands behind it. It is allowed only if
    // all of these are.
    struct Behind {
      IpAddress address;
      std::uint16_t port = 0;
      std::string pod;  // "namespace/pod", or empty
      bool allowed = false;
      RuleInfo decided;  // policy and path are empty for built-in rules
    };
    std::vector<std::string> services;  // "namespace/name"
    // Those of them of which only endpoints on the subject's node count, by
    // internalTrafficPolicy.
    std::vector<std::string> local_services;
    std::vector<std::string> host_port_nodes;  // whose host port it is
    std::vector<Behind> backends;  // those that are not allowed first
  };
  // nullopt if the subject is no pod with policy of its own (unknown, host
  // network, finished, no address).
  [[nodiscard]] std::optional<Answer> explain(const Question& question) const;

  // The destination of packets to an address and a port that are a Service's, a
  // node port or a host port. `node`: the client's; empty if the client is
  // outside the cluster.
  struct Destination {
    std::vector<std::string> services;         // "namespace/name"
    std::vector<std::string> host_port_nodes;  // whose host port it is
    std::vector<std::pair<IpAddress, std::uint16_t>> backends;
    // True if nothing translates the packets.
    [[nodiscard]] bool empty() const {
      return services.empty() && host_port_nodes.empty();
    }
  };
  [[nodiscard]] Destination destination(const IpAddress& address,
                                        std::uint8_t protocol,
                                        std::uint16_t port,
                                        const std::string& node) const;

  // The pod "namespace/name"; nullptr if there is none. Valid until the next
  // change.
  [[nodiscard]] const kube::Pod* pod(const std::string& name) const;
  // Likewise the Service "namespace/name".
  [[nodiscard]] const kube::Service* service(const std::string& name) const;
  [[nodiscard]] Occupant occupant(const IpAddress& address) const;
  // Returns the owner of an address, "namespace/pod" or "node/name"; empty if
  // there is none.
  [[nodiscard]] std::string name_of(const IpAddress& address) const;
  // An address of the family that the node's object names.
  [[nodiscard]] std::optional<IpAddress> node_address(const std::string& node,
                                                      bool v6) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::policy
