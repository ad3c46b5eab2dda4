// SPDX-License-Identifier: Apache-2.0
#include "operator/pod_index.h"

namespace sluice::op {

void PodIndex::remove_pod(const std::string& ns, const std::string& name) {
  const auto found = pods_.find(ns);
  if (found == pods_.end()) {
    return;
  }
  found->second.erase(name);
  if (found->second.empty()) {
    pods_.erase(found);
  }
}

std::vector<std::string> PodIndex::namespaces() const {
  auto names = namespaces_;
  for (const auto& [name, pods] : pods_) {
    names.insert(name);
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> PodIndex::pods_of(const std::string& ns) const {
  std::vector<std::string> result;
  const auto found = pods_.find(ns);
  if (found == pods_.end()) {
    return result;
  }
  result.reserve(found->second.size());
  for (const auto& name : found->second) {
    auto& full = result.emplace_back(ns);
    full.append("/").append(name);
  }
  return result;
}

}  // namespace sluice::op
