// SPDX-License-Identifier: Apache-2.0
#include "lib/explain/reach_ends.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "lib/base/sequence.h"
#include "lib/explain/outside_cidrs.h"
#include "lib/kube/workload.h"

namespace sluice::explain {
namespace {

// Labels by which controllers tell apart the pods that they create alike.
constexpr std::array kLabelsOfControllers{
    "pod-template-hash", "controller-revision-hash", "pod-template-generation",
    "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"};

std::string labels_text(const kube::Pod& pod) {
  std::vector<std::string> parts;
  for (const auto& [key, value] : pod.labels) {
    if (std::ranges::find(kLabelsOfControllers, key) ==
        kLabelsOfControllers.end()) {
      auto& part = parts.emplace_back(key);
      part += value.empty() ? "" : "=";
      part += value;
    }
  }
  return joined(parts, ",");
}

using Key =
    std::tuple<std::string, std::string, std::string>;  // ns, name, kind

// Pods that nobody has created are told apart by their labels.
Key key_of(const kube::Pod& pod) {
  auto owner = kube::workload_of(pod);
  if (owner.kind == "Pod") {
    if (auto labels = labels_text(pod); !labels.empty()) {
      return {pod.ns, std::move(labels), "Pods"};
    }
  }
  return {pod.ns, std::move(owner.name), std::move(owner.kind)};
}

// Gives every end a name of its own: with the kind, where two would have one.
void name_apart(std::vector<Workload>& workloads) {
  std::map<std::string, std::size_t> count;
  for (const auto& workload : workloads) {
    ++count[workload.end.name];
  }
  for (auto& workload : workloads) {
    if (count[workload.end.name] > 1) {
      workload.end.name += " (" + workload.end.kind + ")";
    }
  }
}

}  // namespace

std::string some_names(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 3;
  const std::vector<std::string> first(
      names.begin(), names.begin() + static_cast<std::ptrdiff_t>(
                                         std::min(names.size(), kMost)));
  return joined(first) +
         (names.size() > kMost
              ? " and " + std::to_string(names.size() - kMost) + " more"
              : "");
}

void add_note(std::vector<std::string>& notes,
              const std::vector<std::string>& names, const std::string& why) {
  if (!names.empty()) {
    notes.push_back(some_names(names) + ": " + why);
  }
}

std::vector<Workload> workloads_of(const policy::Translator& translator,
                                   const std::vector<std::string>& pods,
                                   std::vector<std::string>& notes) {
  std::map<Key, Workload> groups;
  std::vector<std::string> unaddressed;
  std::vector<std::string> on_nodes;
  for (const auto& name : pods) {
    const auto* pod = translator.pod(name);
    if (pod == nullptr || pod->finished) {
      continue;
    }
    if (pod->host_network) {
      on_nodes.push_back(name);
    } else if (pod->ips.empty()) {
      unaddressed.push_back(name);
    } else {
      groups[key_of(*pod)].pods.push_back(pod);
    }
  }
  std::vector<Workload> result;
  for (auto& [key, group] : groups) {
    const auto& [ns, name, kind] = key;
    const bool alone = kind == "Pods" && group.pods.size() == 1;
    group.end = {.name = ns + "/" + (alone ? group.pods[0]->name : name),
                 .ns = ns,
                 .kind = alone ? "Pod" : kind,
                 .pods = {},
                 .addresses = {},
                 .prefixes = {}};
    std::ranges::sort(group.pods, {}, &kube::Pod::name);
    for (const auto* pod : group.pods) {
      group.end.pods.push_back(ns + "/" + pod->name);
    }
    result.push_back(std::move(group));
  }
  name_apart(result);
  std::ranges::sort(result, {}, [](const Workload& workload) {
    return std::tie(workload.end.ns, workload.end.name);
  });
  add_note(notes, unaddressed, "left out (no address yet)");
  add_note(notes, on_nodes,
           "left out (on the network of the node, which is shown as host and "
           "remote-node)");
  return result;
}

SetAndClasses set_and_classes(const ReachJudge::PodView& pod) {
  SetAndClasses result{pod.set(), {}};
  for (std::size_t family = 0; family < pod.peers.size(); ++family) {
    if (pod.peers[family]) {
      std::get<1>(result).at(family) = pod.peers[family]->cidr_id;
    }
  }
  return result;
}

std::vector<Variant> variants_of(
    const std::vector<const ReachJudge::PodView*>& pods) {
  // A pod that is not plain is one of its own.
  using Same = std::tuple<const kube::Pod*, SetAndClasses>;
  std::map<Same, Variant> variants;
  for (const auto* pod : pods) {
    const auto key =
        pod->plain ? Same{nullptr, set_and_classes(*pod)} : Same{pod->pod, {}};
    variants[key].pods.push_back(pod);
  }
  std::vector<Variant> result;
  result.reserve(variants.size());
  for (auto& [key, variant] : variants) {
    result.push_back(std::move(variant));
  }
  return result;
}

ReachEnd entity_end(const char* name) {
  return {.name = name,
          .ns = {},
          .kind = "entity",
          .pods = {},
          .addresses = {},
          .prefixes = {}};
}

const std::vector<ReachJudge::Peers>& Outside::seen_by(
    const ReachJudge::PodView& pod) const {
  switch (kind) {
    case Kind::kOwnNode:
      return pod.node->own_alike;
    case Kind::kOtherNodes:
      return pod.node->remote_alike;
    case Kind::kFixed:
      break;
  }
  return peers;
}

namespace {

Outside entity(const char* name, Outside::Kind kind) {
  return {.end = entity_end(name), .kind = kind, .peers = {}};
}

void add_peer(Outside& outside, const ReachJudge::Peer& peer) {
  outside.peers.push_back({.first = peer, .count = 1});
  outside.end.addresses.push_back(to_string(peer.address));
}

}  // namespace

std::vector<Outside> outside_ends(const ReachJudge& judge,
                                  std::vector<std::string>& notes) {
  auto world = entity("world", Outside::Kind::kFixed);
  for (const char* all : {"0.0.0.0/0", "::/0"}) {
    if (const auto address = judge.regions().address_in(*parse_prefix(all))) {
      add_peer(world, judge.outside(*address));
    }
  }
  auto result = outside_cidrs<Outside>(
      judge.regions(),
      [&](const IpAddress& address) { return judge.outside(address).cidr_id; },
      [&](Outside& outside, const IpAddress& address) {
        add_peer(outside, judge.outside(address));
      },
      notes);
  result.insert(result.begin(), std::move(world));
  if (!judge.api_servers().empty()) {
    auto& api =
        result.emplace_back(entity("kube-apiserver", Outside::Kind::kFixed));
    for (const auto& address : judge.api_servers()) {
      add_peer(api, judge.outside(address));
    }
  }
  result.push_back(entity("host", Outside::Kind::kOwnNode));
  result.push_back(entity("remote-node", Outside::Kind::kOtherNodes));
  return result;
}

}  // namespace sluice::explain
