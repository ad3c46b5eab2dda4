// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

namespace sluice::op {

// The names of namespaces and of their pods.
class PodIndex {
 public:
  void add_namespace(const std::string& name) { namespaces_.insert(name); }
  void remove_namespace(const std::string& name) { namespaces_.erase(name); }
  void add_pod(const std::string& ns, const std::string& name) {
    pods_[ns].insert(name);
  }
  void remove_pod(const std::string& ns, const std::string& name);

  // Those that there are, and those of pods, sorted.
  [[nodiscard]] std::vector<std::string> namespaces() const;
  // The pods of a namespace, "namespace/name", sorted.
  [[nodiscard]] std::vector<std::string> pods_of(const std::string& ns) const;

 private:
  std::set<std::string> namespaces_;
  std::map<std::string, std::set<std::string>> pods_;  // by namespace
};

}  // namespace sluice::op
