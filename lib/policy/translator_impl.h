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
#include "lib/policy/translator.h"

// The translator's insides, shared by translator.cpp (objects in),
// node_view.cpp (transactions out) and explain.cpp.
namespace sluice::policy {

struct NamespaceRecord {
  kube::Labels labels;
  std::unordered_set<PodRecord*> pods;
};

// What a watched node has been given, and what has changed since.
struct NodeWatch {
  bool fresh = true;  // the next take() gives everything
  std::uint64_t revision = 0;
  std::map<std::string, std::uint32_t> endpoint_sets;  // endpoint -> set
  std::map<std::uint32_t, std::uint32_t> set_refs;  // endpoints by policy set
  std::map<std::uint32_t, std::vector<RuleInfo>> set_rules;  // names by set
  std::map<std::uint32_t, std::uint32_t> rule_refs;  // sets that have the rule
  std::map<std::string, EndpointEntry> sent_endpoints;

  std::set<std::string> touched;  // endpoints, since the last flush

  // For the next take().
  std::set<IpPrefix> peers;
  std::set<std::string> endpoints;
  std::map<sluice_policy_key, std::optional<sluice_policy_value>, PolicyKeyLess>
      entries;
  std::map<std::uint32_t, std::optional<RuleInfo>> rules;
  std::map<std::uint32_t, std::optional<PolicySetInfo>> infos;
};

struct Translator::Impl {
  explicit Impl(TranslatorOptions given)
      : options(std::move(given)),
        selectors(options.cluster_name),
        classes(selectors, options.cidr_match_all),
        sets(selectors, classes) {}

  NamespaceRecord& space(const std::string& name);
  void set_namespace_labels(const std::string& name, kube::Labels labels);
  void set_pod(const kube::Pod& object);
  void move_to_node(PodRecord& record, const std::string& old_node);
  void remove_pod(const std::string& ns, const std::string& name);
  void set_node(const kube::Node& object);
  void update_api_addresses();
  void flush();

  void note_endpoint(const std::string& node, const std::string& name);
  [[nodiscard]] const PodRecord* find_endpoint(const std::string& node,
                                               const std::string& name) const;
  [[nodiscard]] EndpointEntry endpoint(const PodRecord& record) const;
  void collect(const std::string& node, NodeWatch& watch);
  void collect_sets(const std::string& node, NodeWatch& watch);
  void count_endpoint(const std::string& node, NodeWatch& watch,
                      const std::string& name,
                      std::set<std::uint32_t>& seen) const;
  void send_names(NodeWatch& watch, const SetRecord& set);
  static void withdraw_names(NodeWatch& watch, std::uint32_t id);
  Transaction take_all(const std::string& node, NodeWatch& watch);
  Transaction take_changes(const std::string& node, NodeWatch& watch) const;
  [[nodiscard]] State snapshot(const std::string& node) const;

  TranslatorOptions options;
  SelectorCache selectors;
  PeerClasses classes;
  PolicySets sets;
  std::map<std::string, std::unique_ptr<NamespaceRecord>> namespaces;
  std::unordered_map<std::string, std::unique_ptr<PodRecord>> pods;
  std::map<std::string, std::unordered_set<PodRecord*>> node_pods;
  std::map<std::string, std::vector<IpAddress>> nodes;
  std::map<std::string, std::vector<IpAddress>> api_slices;
  std::unordered_set<PodRecord*> dirty_pods;
  std::map<std::string, NodeWatch> watches;
  std::uint64_t sequence = 0;
};

}  // namespace sluice::policy
