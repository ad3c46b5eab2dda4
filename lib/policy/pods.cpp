// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/pods.h"

#include <algorithm>
#include <utility>

namespace sluice::policy {
namespace {

// The API server puts this label on every namespace (KEP-2161); manifests need
// not spell it out.
constexpr const char* kMetadataName = "kubernetes.io/metadata.name";

}  // namespace

NamespaceRecord& Pods::space(const std::string& name) {
  auto& record = namespaces_[name];
  if (!record) {
    record = std::make_unique<NamespaceRecord>();
    record->labels[kMetadataName] = name;
  }
  return *record;
}

bool Pods::set_labels(const std::string& name, kube::Labels labels) {
  labels.try_emplace(kMetadataName, name);
  auto& record = space(name);
  return std::exchange(record.labels, labels) != labels;
}

const NamespaceRecord* Pods::find_space(const std::string& name) const {
  const auto it = namespaces_.find(name);
  return it == namespaces_.end() ? nullptr : it->second.get();
}

void Pods::forget_space(const std::string& name) {
  const auto it = namespaces_.find(name);
  if (it != namespaces_.end() && it->second->pods.empty() &&
      it->second->labels.size() == 1 && it->second->permits == 0) {
    namespaces_.erase(it);
  }
}

PodRecord& Pods::add(const std::string& ns, const std::string& name) {
  auto& record = pods_[ns + "/" + name];
  record = std::make_unique<PodRecord>();
  record->namespace_labels = &space(ns).labels;
  space(ns).pods.insert(record.get());
  return *record;
}

void Pods::erase(PodRecord& record) {
  const std::string ns = record.pod.ns;
  space(ns).pods.erase(&record);
  forget_space(ns);
  leave_node(record, record.pod.node);
  pods_.erase(record.name());
}

void Pods::leave_node(PodRecord& record, const std::string& node) {
  const auto here = by_node_.find(node);
  if (here != by_node_.end() && here->second.erase(&record) != 0 &&
      here->second.empty()) {
    by_node_.erase(here);
  }
}

void Pods::move_to_node(PodRecord& record, const std::string& old_node) {
  if (old_node != record.pod.node) {
    leave_node(record, old_node);
  }
  if (record.managed()) {
    by_node_[record.pod.node].insert(&record);
  } else {
    leave_node(record, record.pod.node);
  }
}

PodRecord* Pods::find(const std::string& name) const {
  const auto it = pods_.find(name);
  return it == pods_.end() ? nullptr : it->second.get();
}

std::vector<const kube::Pod*> Pods::in_space(const std::string& ns) const {
  std::vector<const kube::Pod*> result;
  if (const auto* record = find_space(ns)) {
    for (const auto* pod : record->pods) {
      result.push_back(&pod->pod);
    }
  }
  return result;
}

const std::unordered_set<PodRecord*>& Pods::on_node(
    const std::string& node) const {
  static const std::unordered_set<PodRecord*> none;
  const auto it = by_node_.find(node);
  return it == by_node_.end() ? none : it->second;
}

bool Pods::is_endpoint(const PodRecord& record) const {
  return record.managed() &&
         std::ranges::none_of(record.pod.ips, [&](const IpAddress& address) {
           return std::ranges::any_of(
               classes_.pods_at(address), [&](const PodRecord* other) {
                 return other->pod.node == record.pod.node &&
                        other->newer_than(record);
               });
         });
}

const PodRecord* Pods::find_endpoint(const std::string& node,
                                     const std::string& name) const {
  const auto* record = find(name);
  return record != nullptr && is_endpoint(*record) && record->pod.node == node
             ? record
             : nullptr;
}

}  // namespace sluice::policy
