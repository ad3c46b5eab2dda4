// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lib/policy/peer_classes.h"
#include "lib/policy/policy_sets.h"
#include "lib/policy/selector_cache.h"
#include "lib/policy/services.h"
#include "lib/policy/translator.h"
#include "lib/policy/tunnel_guard.h"

// The translator's insides, shared by translator.cpp (objects in),
// node_view.cpp (transactions out) and explain.cpp.
namespace sluice::policy {

struct NamespaceRecord {
  kube::Labels labels;
  std::uint32_t permits = 0;  // of its pods; see EndpointEntry
  std::unordered_set<PodRecord*> pods;
};

// What a watched node has been given, and what has changed since. The peers it
// has been given are not kept: they follow from their classes and from which
// classes matter here.
struct NodeWatch {
  std::string node;
  bool fresh = true;  // the next take() gives everything
  std::uint64_t revision = 0;
  std::map<std::string, std::uint32_t> endpoint_sets;  // endpoint -> set
  std::map<std::uint32_t, std::uint32_t> set_refs;  // endpoints by policy set
  // Classes that matter and selectors of names, by how many of its sets.
  ClassRefs class_refs;
  std::map<std::uint32_t, std::vector<RuleInfo>> set_rules;  // names by set
  std::map<std::uint32_t, std::uint32_t> rule_refs;  // sets that have the rule
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
    std::unordered_map<std::uint32_t, std::unordered_set<NodeWatch*>>;

struct Translator::Impl {
  explicit Impl(TranslatorOptions given)
      : options(std::move(given)),
        selectors(options.cluster_name),
        classes(selectors, options.cidr_match_all),
        services(classes,
                 [this](const std::string& ns) { return pods_of(ns); }),
        sets(selectors, classes, services,
             {.of_set = options.max_set_entries,
              .of_namespace = options.max_namespace_entries}) {}

  NamespaceRecord& space(const std::string& name);
  [[nodiscard]] std::vector<const kube::Pod*> pods_of(
      const std::string& ns) const;
  void set_namespace_labels(const std::string& name, kube::Labels labels);
  void set_permits(const std::string& name, std::uint32_t permits);
  void set_pod(const kube::Pod& object);
  void move_to_node(PodRecord& record, const std::string& old_node);
  void remove_pod(const std::string& ns, const std::string& name);
  void forget_api_slice(const std::string& ns, const std::string& name);
  void update_api_addresses();
  void guard_tunnels();
  void flush();

  void note_endpoint(const std::string& node, const std::string& name);
  void leave_node(PodRecord& record, const std::string& node);
  void forget_space(const std::string& name);
  void note_rivals(const PodRecord& record,
                   const std::vector<IpAddress>& addresses);
  [[nodiscard]] bool is_endpoint(const PodRecord& record) const;
  [[nodiscard]] const PodRecord* find_endpoint(const std::string& node,
                                               const std::string& name) const;
  [[nodiscard]] EndpointEntry endpoint(const PodRecord& record) const;
  void distribute();
  void distribute_peers(const Watchers& left);
  void distribute_resolvers();
  [[nodiscard]] std::unordered_set<NodeWatch*> concerned_by(
      const IpPrefix& prefix, const PeerClasses::Seen& before,
      const PeerClasses::Seen& now, const Watchers& left);
  void recompute_peer(NodeWatch& watch, const IpPrefix& prefix,
                      const PeerClasses::Seen& before,
                      const PeerClasses::Seen& now);
  void recompute_zone(NodeWatch& watch);
  void recompute_members(NodeWatch& watch);
  void collect(NodeWatch& watch, const std::set<std::uint32_t>& changed,
               Watchers& left);
  void collect_sets(NodeWatch& watch, const std::map<std::uint32_t, bool>& had,
                    Watchers& left);
  [[nodiscard]] NameSelector name_selector(std::uint32_t id) const;
  void count_class(NodeWatch& watch, std::uint32_t cidr_id, bool add,
                   Watchers& left);
  void count_endpoint(NodeWatch& watch, const std::string& name,
                      std::map<std::uint32_t, bool>& had) const;
  void forget(NodeWatch& watch);
  static void send_names(NodeWatch& watch, const SetRecord& set);
  static void withdraw_names(NodeWatch& watch, std::uint32_t id);
  Transaction take_all(NodeWatch& watch);
  Transaction take_changes(NodeWatch& watch) const;
  template <typename Visit>
  void visit_behind(const std::string& node, const Packet& packet,
                    const Visit& visit) const;
  void explain_backends(const PodRecord& pod, const SetRecord* set,
                        const Packet& packet, Answer& answer) const;
  [[nodiscard]] Answer::Behind explain_backend(const PodRecord& pod,
                                               const SetDirection& direction,
                                               const Packet& packet,
                                               const Backend& backend) const;
  void add_near_misses(const SetRecord& set, const PodRecord& pod,
                       const Packet& packet, std::uint32_t cidr_id,
                       Answer& answer) const;
  [[nodiscard]] State snapshot(const std::string& node) const;

  TranslatorOptions options;
  SelectorCache selectors;
  PeerClasses classes;
  Services services;
  PolicySets sets;
  TunnelGuard tunnels;
  std::map<std::string, std::unique_ptr<NamespaceRecord>> namespaces;
  std::unordered_map<std::string, std::unique_ptr<PodRecord>> pods;
  std::map<std::string, std::unordered_set<PodRecord*>> node_pods;
  std::map<std::string, std::vector<IpAddress>> api_slices;
  std::unordered_set<PodRecord*> dirty_pods;
  std::map<std::string, NodeWatch> watches;
  Watchers set_watches;
  Watchers class_watches;
  std::unordered_set<NodeWatch*> touched;  // an endpoint may have changed
  std::unordered_set<NodeWatch*> pending;  // take() may give something
  bool dirty = false;                      // flush() has something to do
  std::uint64_t sequence = 0;
  bool begun = false;  // all that there was at the beginning has been told
};

}  // namespace sluice::policy
