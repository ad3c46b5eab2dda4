// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

// A made-up cluster as its API server would tell it: nodes, pods that belong to
// apps, a policy and a Service for every app. Pods of one app are in one
// namespace, on as many nodes as there are pods of it; each policy lets three
// other apps in, and out to two, to the DNS pods and to a network outside.
namespace sluice::bench {

struct MadeCluster {
  int nodes = 1000;
  int pods = 10'000;
  int policies = 500;
  int namespaces = 100;
};

// What can differ between two versions of a pod.
struct MadePod {
  int number = 0;  // its app and node follow from it
  std::string name;
  std::uint64_t version = 1;
  std::string ip;  // empty: none yet
  bool scheduled = true;
  bool stray = false;     // no policy and no peer selector knows its labels
  bool ending = false;    // it has a deletionTimestamp
  bool finished = false;  // phase Succeeded
};

std::string ip_text(std::uint32_t address);
inline constexpr std::uint32_t kFirstPodAddress = 0x0a80'0000;
inline constexpr std::uint32_t kFirstNodeAddress = 0x0a40'0000;

// As `items` of a list, and as objects of watch events: 6 to 8 KB for a pod,
// most of it what no policy asks for.
std::string pod_json(const MadeCluster& cluster, const MadePod& pod);
std::string namespace_json(int number, std::uint64_t version);
std::string node_json(int number, std::uint64_t version);
std::string service_json(const MadeCluster& cluster, int number,
                         std::uint64_t version);
std::string slice_json(const MadeCluster& cluster, int number,
                       std::uint64_t version);
std::string policy_json(const MadeCluster& cluster, int number,
                        std::uint64_t version);

}  // namespace sluice::bench
