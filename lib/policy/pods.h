// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/kube/objects.h"
#include "lib/policy/peer_classes.h"
#include "lib/policy/selector_cache.h"

namespace sluice::policy {

struct NamespaceRecord {
  kube::Labels labels;
  std::uint32_t permits = 0;  // of its pods; see EndpointEntry
  std::unordered_set<PodRecord*> pods;
};

// Pods by name, namespace and node, and which of them are endpoints.
class Pods {
 public:
  explicit Pods(const PeerClasses& classes) : classes_(classes) {}

  // Creates the record if there is none.
  NamespaceRecord& space(const std::string& name);
  // The labels that a namespace is given, beside that of its name. Returns
  // whether they have changed.
  bool set_labels(const std::string& name, kube::Labels labels);
  // nullptr if nothing is known of it.
  [[nodiscard]] const NamespaceRecord* find_space(
      const std::string& name) const;
  // Forgets a namespace that says no more than one that is not known.
  void forget_space(const std::string& name);

  // A new record, without its object. The address of a record is stable.
  PodRecord& add(const std::string& ns, const std::string& name);
  void erase(PodRecord& record);
  // To be called when the record's node or state has changed.
  void move_to_node(PodRecord& record, const std::string& old_node);
  // nullptr if there is none.
  [[nodiscard]] PodRecord* find(const std::string& name) const;
  [[nodiscard]] std::vector<const kube::Pod*> in_space(
      const std::string& ns) const;
  // Those that have an address of their own.
  [[nodiscard]] const std::unordered_set<PodRecord*>& on_node(
      const std::string& node) const;

  // A pod that has an address of a newer pod's on the same node has no
  // interface any more: that one has it.
  [[nodiscard]] bool is_endpoint(const PodRecord& record) const;
  // nullptr if no endpoint of the node has the name.
  [[nodiscard]] const PodRecord* find_endpoint(const std::string& node,
                                               const std::string& name) const;

 private:
  void leave_node(PodRecord& record, const std::string& node);

  const PeerClasses& classes_;
  std::map<std::string, std::unique_ptr<NamespaceRecord>> namespaces_;
  std::unordered_map<std::string, std::unique_ptr<PodRecord>> pods_;
  std::map<std::string, std::unordered_set<PodRecord*>> by_node_;
};

}  // namespace sluice::policy
