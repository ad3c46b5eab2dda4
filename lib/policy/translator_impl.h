// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lib/policy/node_views.h"
#include "lib/policy/peer_classes.h"
#include "lib/policy/pods.h"
#include "lib/policy/policy_sets.h"
#include "lib/policy/selector_cache.h"
#include "lib/policy/services.h"
#include "lib/policy/translator.h"
#include "lib/policy/tunnel_guard.h"

// The parts of the translator, for the files that implement it.
namespace sluice::policy {

struct Translator::Impl {
  explicit Impl(TranslatorOptions given)
      : options(std::move(given)),
        selectors(options.cluster_name),
        classes(selectors, options.cidr_match_all),
        pods(classes),
        services(classes,
                 [this](const std::string& ns) { return pods.in_space(ns); }),
        sets(selectors, classes, services,
             {.of_set = options.max_set_entries,
              .of_namespace = options.max_namespace_entries}),
        views(pods, classes, services, sets) {}

  void set_namespace_labels(const std::string& name, kube::Labels labels);
  void set_permits(const std::string& name, std::uint32_t permits);
  void set_pod(const kube::Pod& object);
  void move_addresses(PodRecord& record, const std::vector<IpAddress>& before,
                      const std::vector<IpAddress>& now);
  void remove_pod(const std::string& ns, const std::string& name);
  void forget_api_slice(const std::string& ns, const std::string& name);
  void update_api_addresses();
  void guard_tunnels();
  void note_rivals(const PodRecord& record,
                   const std::vector<IpAddress>& addresses);
  void flush();

  TranslatorOptions options;
  // Each knows those before it and reads their changes in flush().
  SelectorCache selectors;
  PeerClasses classes;
  Pods pods;
  Services services;
  PolicySets sets;
  NodeViews views;
  TunnelGuard tunnels;
  std::map<std::string, std::vector<IpAddress>> api_slices;
  std::unordered_set<PodRecord*> dirty_pods;
  bool dirty = false;  // flush() has something to do
  std::uint64_t sequence = 0;
  bool begun = false;  // all that there was at the beginning has been told
};

}  // namespace sluice::policy
