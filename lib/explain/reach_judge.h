// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lib/base/ip.h"
#include "lib/explain/reach_outside.h"
#include "lib/explain/reach_ports.h"
#include "lib/policy/model.h"
#include "lib/policy/translator.h"

namespace sluice::explain {

// A bit for each port of the question.
using PortBits = std::vector<std::uint64_t>;

// Judges pairs of pods and addresses at all ports of a question at once, by the
// entries that the nodes of the pods have. Neither pods nor policies may change
// meanwhile.
class ReachJudge {
 public:
  struct Peer {
    IpAddress address;
    std::uint32_t cidr_id = 0;  // 0: no set of any node has entries for it
  };
  // Addresses that get the same verdicts: one of them, and how many they are.
  struct Peers {
    Peer first;
    std::uint64_t count = 1;
  };
  struct NodeView {
    policy::Model model;
    // The addresses of the node itself, and of the others that it knows.
    std::vector<Peer> own;
    std::vector<Peer> remote;
    // The same, together; by set_ports().
    std::vector<Peers> own_alike;
    std::vector<Peers> remote_alike;
  };
  struct PodView {
    const kube::Pod* pod = nullptr;
    const NodeView* node = nullptr;
    const EndpointEntry* endpoint = nullptr;
    std::array<std::optional<Peer>, 2> peers;  // by family: IPv4, IPv6
    // Pods that agree in their sets and classes have the same verdicts.
    // Otherwise they are asked about one by one: an address is also that of
    // another pod, of a Service or of a node.
    bool plain = false;
    [[nodiscard]] std::uint32_t set() const { return endpoint->policy_set; }
  };
  // Why a pod's policies allow or deny a packet, by the entries of its node.
  struct Decision {
    bool allowed = true;
    sluice_reason reason = SLUICE_REASON_DEFAULT_ALLOW;
    const RuleInfo* rule = nullptr;  // nullptr for built-in rules
    // The policies that isolate the direction; nullptr: none.
    const std::vector<std::string>* isolating = nullptr;
  };
  // Of one pair. A port that no family of the two has is in neither.
  struct Verdicts {
    PortBits allowed;
    PortBits denied;
  };

  // `pods`: subjects of policy.
  ReachJudge(const policy::Translator& translator,
             const std::vector<const kube::Pod*>& pods);

  // All ports that entries and containers name; see ReachPortCollector.
  [[nodiscard]] std::vector<ReachPorts> named_ports() const {
    return collector_.pieces();
  }
  [[nodiscard]] const ReachPortCollector& collector() const {
    return collector_;
  }
  void set_ports(std::vector<ReachPorts> ports);
  [[nodiscard]] const std::vector<ReachPorts>& ports() const { return ports_; }

  [[nodiscard]] const std::vector<PodView>& pods() const { return pods_; }
  // The prefixes that rules name.
  [[nodiscard]] const ReachRegions& regions() const { return regions_; }
  // Those of API servers that are outside of the cluster.
  [[nodiscard]] const std::set<IpAddress>& api_servers() const {
    return api_servers_;
  }
  // An address that no pod, node or Service has.
  [[nodiscard]] Peer outside(const IpAddress& address) const;
  [[nodiscard]] bool uses_names() const { return uses_names_; }

  // What the policies of a plain pod allow for a peer. The reference stays
  // valid until the next set_ports().
  [[nodiscard]] const PortBits& one_side(policy::Direction direction,
                                         const PodView& pod, const Peer& peer);
  // The class as the set has entries for it: itself, or any peer, which may be
  // the own node.
  [[nodiscard]] std::uint32_t class_to(std::uint32_t set,
                                       std::uint32_t cidr_id) const;
  // Why one_side() says so of the port at this place.
  [[nodiscard]] Decision decide(policy::Direction direction, const PodView& pod,
                                const Peer& peer, std::size_t place) const;
  // True if both worlds have the same entries for the policy set, whichever
  // rules they are for: then a peer of the same class has the same verdicts.
  [[nodiscard]] bool has_same_entries(const ReachJudge& other,
                                      std::uint32_t set) const;
  // The ports that the protocols have in a family.
  [[nodiscard]] const PortBits& of_family(bool v6) const {
    return of_family_[v6 ? 1 : 0];
  }
  // The ports at which something else stands behind an address; see leads_on().
  [[nodiscard]] PortBits leading_on(const IpAddress& address) const;

  [[nodiscard]] Verdicts between(const PodView& from, const PodView& to);
  [[nodiscard]] Verdicts to_outside(const PodView& from, const Peer& to);
  // The same, where nothing stands behind the address at the ports in question.
  [[nodiscard]] Verdicts to_plain_outside(const PodView& from, const Peer& to);
  [[nodiscard]] Verdicts from_outside(const Peer& from, const PodView& to);
  // True if something stands behind the address at one of the ports: a node
  // port or host port. What is behind it may be the pod that asks, so that pods
  // that are alike differ.
  [[nodiscard]] bool leads_on(const std::string& node,
                              const IpAddress& address);

  [[nodiscard]] std::uint64_t lookups() const { return lookups_; }
  [[nodiscard]] std::uint64_t questions() const { return questions_; }

 private:
  // What entries say of ports, whichever set, class and rule they are of: a
  // number for each, in order.
  using Content = std::vector<std::uint64_t>;
  // By class; each content is there once, so that equal ones are one.
  using Contents = std::unordered_map<std::uint32_t, const Content*>;
  // All that a verdict depends on but for the port.
  struct Key {
    const Content* of_class = nullptr;
    const Content* of_any = nullptr;
    policy::Direction direction = policy::Direction::kIngress;
    bool isolated = false;
    bool own_node = false;
    auto operator<=>(const Key&) const = default;
  };

  void read_node(const std::string& name);
  void read_entries(const State& state);
  void read_peers(const State& state, NodeView& view);
  void add_pod(const kube::Pod& pod);
  [[nodiscard]] std::uint32_t class_of(const IpAddress& address) const;
  [[nodiscard]] Verdicts ask(const std::string& from, const std::string& to);
  [[nodiscard]] std::vector<Peers> alike(const std::vector<Peer>& peers,
                                         const std::string& node);
  [[nodiscard]] PortBits none() const;

  const policy::Translator* translator_;
  std::map<std::string, NodeView> nodes_;
  std::vector<PodView> pods_;
  ReachPortCollector collector_;
  ReachRegions regions_;
  std::set<IpAddress> api_servers_;
  bool uses_names_ = false;
  std::set<Content> contents_;
  std::unordered_map<std::uint32_t, Contents> of_sets_;
  std::map<std::uint32_t, std::array<std::vector<std::string>, 2>> isolating_;

  std::vector<ReachPorts> ports_;
  std::array<PortBits, 2> of_family_;
  PortBits all_;
  std::map<Key, PortBits> judged_;
  std::map<IpAddress, bool> leads_on_;
  std::uint64_t lookups_ = 0;
  std::uint64_t questions_ = 0;
};

}  // namespace sluice::explain
