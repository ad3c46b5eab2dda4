// SPDX-License-Identifier: Apache-2.0
#include "operator/announced_pods.h"

#include <algorithm>

namespace sluice::op {
namespace {

// More than any node has.
constexpr std::size_t kPodsPerNodeMax = 2048;
// The length of the uid of a pod created at the API server. The uid of a static
// pod is shorter: for kubelet it is a hash of the pod's file, and the API
// server has another one.
constexpr std::size_t kUuidLength = 36;

bool same_pod(const std::string& announced, const std::string& known) {
  return announced.size() != kUuidLength || known.empty() || announced == known;
}

}  // namespace

void AnnouncedPods::drop(const std::string& name) {
  const auto found = announced_.find(name);
  if (found == announced_.end()) {
    return;
  }
  const auto here = by_node_.find(found->second.node);
  if (here != by_node_.end()) {
    here->second.erase(name);
    if (here->second.empty()) {
      by_node_.erase(here);
    }
  }
  announced_.erase(found);
}

kube::Pod AnnouncedPods::as_it_counts(const std::string& name,
                                      Awaiting& awaiting) const {
  auto pod = awaiting.pod;
  awaiting.addressed = false;
  const auto found = announced_.find(name);
  if (found == announced_.end() || found->second.node != pod.node ||
      !same_pod(found->second.pod.uid, awaiting.uid)) {
    return pod;
  }
  const auto& ips = found->second.pod.ips;
  if (std::ranges::any_of(ips, [&](const IpAddress& ip) {
        return translator_->is_taken(ip, pod.node);
      })) {
    return pod;
  }
  pod.ips = ips;
  awaiting.addressed = true;
  return pod;
}

kube::Pod AnnouncedPods::seen(const kube::Pod& pod, const std::string& uid) {
  auto name = pod.ns + "/" + pod.name;
  if (pod.node.empty() || !pod.ips.empty() || pod.host_network ||
      pod.finished) {
    awaiting_.erase(name);
    // If we have not seen the pod scheduled yet, its node may know more.
    if (!pod.node.empty()) {
      drop(name);
    }
    return pod;
  }
  auto& awaiting = awaiting_[name];
  awaiting.pod = pod;
  awaiting.uid = uid;
  return as_it_counts(name, awaiting);
}

void AnnouncedPods::forget(const std::string& ns, const std::string& name) {
  awaiting_.erase(ns + "/" + name);
  drop(ns + "/" + name);
}

// An agent cannot replace what the agent of the pod's own node has announced.
bool AnnouncedPods::put(const std::string& node, const wire::PodAddress& pod) {
  const auto name = pod.ns + "/" + pod.name;
  const auto awaiting = awaiting_.find(name);
  const auto found = announced_.find(name);
  const bool is_anothers =
      (awaiting != awaiting_.end() && awaiting->second.pod.node != node) ||
      (awaiting == awaiting_.end() && found != announced_.end() &&
       found->second.node != node);
  if (is_anothers) {
    return false;
  }
  drop(name);
  if (pod.ips.empty() || by_node_[node].size() >= kPodsPerNodeMax) {
    if (by_node_[node].empty()) {
      by_node_.erase(node);
    }
    return true;
  }
  by_node_[node].insert(name);
  announced_[name] = {.node = node, .pod = pod};
  return true;
}

std::vector<kube::Pod> AnnouncedPods::announce(
    const std::string& node, bool begins,
    const std::vector<wire::PodAddress>& pods) {
  std::set<std::string> touched;
  if (begins) {
    if (const auto here = by_node_.find(node); here != by_node_.end()) {
      touched = here->second;
      for (const auto& name : touched) {
        drop(name);
      }
    }
  }
  for (const auto& pod : pods) {
    if (put(node, pod)) {
      touched.insert(pod.ns + "/" + pod.name);
    }
  }
  std::vector<kube::Pod> result;
  for (const auto& name : touched) {
    const auto found = awaiting_.find(name);
    if (found == awaiting_.end()) {
      continue;  // its status has them, or the pod is not known yet
    }
    const bool before = found->second.addressed;
    auto pod = as_it_counts(name, found->second);
    if (before || found->second.addressed) {
      result.push_back(std::move(pod));
    }
  }
  return result;
}

}  // namespace sluice::op
