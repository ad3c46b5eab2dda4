// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/base/ip.h"
#include "lib/policy/peer_classes.h"
#include "lib/policy/pods.h"
#include "lib/policy/policy_sets.h"
#include "lib/policy/services.h"
#include "sluice/state.h"

namespace sluice::policy {

// The views of nodes: a node's endpoints, their policy sets with entries and
// names, and the peers that these tell apart; as a whole or as changes.
class NodeViews {
 public:
  NodeViews(const Pods& pods, const PeerClasses& classes,
            const Services& services, const PolicySets& sets)
      : pods_(pods), classes_(classes), services_(services), sets_(sets) {}

  // From now on, or anew: the next take() gives everything.
  void watch(const std::string& node);
  void forget(const std::string& node);

  // An endpoint of the node, or what its record says, may have changed.
  void note_endpoint(const std::string& node, const std::string& name);
  // Gives every watched node its part of the changes of sets, classes and
  // Services. Call when all of these are up to date, and before their changes
  // are cleared.
  void distribute();

  // Watched nodes for which take() may give something; sorted.
  [[nodiscard]] std::vector<std::string> changed() const;
  // What has changed for a watched node since the last call.
  Transaction take(const std::string& node);
  // Everything, of any node.
  [[nodiscard]] State snapshot(const std::string& node) const;

 private:
  // What a watched node has been given, and what has changed since. The peers
  // it has been given are not kept: they follow from their classes and from
  // which classes matter here.
  struct Watch {
    std::string node;
    bool fresh = true;  // the next take() gives everything
    std::uint64_t revision = 0;
    std::map<std::string, std::uint32_t> endpoint_sets;  // endpoint -> set
    std::map<std::uint32_t, std::uint32_t> set_refs;  // endpoints by policy set
    // Classes that matter and selectors of names, by how many of its sets.
    ClassRefs class_refs;
    std::map<std::uint32_t, std::vector<RuleInfo>> set_rules;  // names by set
    std::map<std::uint32_t, std::uint32_t>
        rule_refs;  // sets that have the rule
    std::map<std::string, EndpointEntry> sent_endpoints;

    std::set<std::string> touched;  // endpoints, since the last flush
    // Classes of which the flush under way changes whether they matter, and
    // whether they did.
    std::unordered_map<std::uint32_t, bool> mattered;

    // For the next take().
    std::set<IpPrefix> peers;
    std::set<std::string> endpoints;
    std::vector<Transaction::EntryChange> entries;  // later ones win
    std::map<std::uint32_t, std::optional<RuleInfo>> rules;
    std::map<std::uint32_t, std::optional<PolicySetInfo>> infos;
    std::map<std::uint32_t, std::optional<NameSelector>> names;
    std::set<Resolver> resolvers;

    [[nodiscard]] bool has_changes() const {
      return !peers.empty() || !endpoints.empty() || !entries.empty() ||
             !rules.empty() || !infos.empty() || !names.empty() ||
             !resolvers.empty();
    }
  };

  // Which watched nodes have to hear of a set or a class.
  using Watchers =
      std::unordered_map<std::uint32_t, std::unordered_set<Watch*>>;

  [[nodiscard]] EndpointEntry endpoint(const PodRecord& record) const;
  void distribute_peers(const Watchers& left);
  void distribute_resolvers();
  [[nodiscard]] std::unordered_set<Watch*> concerned_by(
      const IpPrefix& prefix, const PeerClasses::Seen& before,
      const PeerClasses::Seen& now, const Watchers& left);
  void recompute_peer(Watch& watch, const IpPrefix& prefix,
                      const PeerClasses::Seen& before,
                      const PeerClasses::Seen& now);
  void recompute_zone(Watch& watch);
  void recompute_members(Watch& watch);
  void collect(Watch& watch, const std::set<std::uint32_t>& changed,
               Watchers& left);
  void collect_sets(Watch& watch, const std::map<std::uint32_t, bool>& had,
                    Watchers& left);
  [[nodiscard]] NameSelector name_selector(std::uint32_t id) const;
  void count_class(Watch& watch, std::uint32_t cidr_id, bool add,
                   Watchers& left);
  void count_endpoint(Watch& watch, const std::string& name,
                      std::map<std::uint32_t, bool>& had) const;
  void forget(Watch& watch);
  static void send_names(Watch& watch, const SetRecord& set);
  static void withdraw_names(Watch& watch, std::uint32_t id);
  Transaction take_all(Watch& watch);
  Transaction take_changes(Watch& watch) const;

  const Pods& pods_;
  const PeerClasses& classes_;
  const Services& services_;
  const PolicySets& sets_;
  std::map<std::string, Watch> watches_;
  Watchers set_watches_;
  Watchers class_watches_;
  std::unordered_set<Watch*> touched_;  // an endpoint may have changed
  std::unordered_set<Watch*> pending_;  // take() may give something
};

}  // namespace sluice::policy
