// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lib/explain/reach_ends.h"
#include "lib/explain/reach_view.h"
#include "lib/preview/both_worlds.h"

// The ends that a preview compares.
namespace sluice::preview {

// Pods between which there is no difference in either world.
struct PodKind {
  std::vector<const Member*> pods;  // not empty
};

// Pods of one kind in one workload.
struct Share {
  std::size_t kind = 0;  // its place in Pods::kinds
  std::vector<const Member*> pods;
};

struct Workload {
  explain::ReachEnd end;
  std::vector<Share> shares;  // none: all its pods are in one world only
};

struct Pods {
  std::deque<Member> members;  // of which the others have pointers
  std::vector<PodKind> kinds;
  std::vector<Workload> workloads;
};

// `before`, `after`: the workloads of both worlds. Those of the world before
// are compared. `notes`: which pods are in one of the worlds only.
Pods pods_of(const std::vector<explain::Workload>& before,
             const ReachJudge& judge_before, const ReachJudge& judge_after,
             std::vector<std::string>& notes);

// The nodes of a pod, before and after.
using Nodes =
    std::pair<const ReachJudge::NodeView*, const ReachJudge::NodeView*>;
inline Nodes nodes_of(const Member& pod) {
  return {pod.view.before->node, pod.view.after->node};
}

// An end outside of all pods. Which addresses it has may depend on the node.
class Outside {
 public:
  struct Addresses {
    Address first;
    std::uint64_t count = 1;  // that get the same verdicts
  };
  explain::ReachEnd end;
  explain::Outside::Kind kind = explain::Outside::Kind::kFixed;
  std::vector<Addresses> addresses;  // kFixed
  // Those that a pod sees as this end in both worlds. Pods of one node in each
  // world see the same ones.
  [[nodiscard]] const std::vector<Addresses>& seen_by(const Member& pod);

 private:
  std::map<Nodes, std::vector<Addresses>> by_nodes_;
};
// The world first. `notes`: what of it is left out.
std::vector<Outside> outside_ends(const ReachJudge& before,
                                  const ReachJudge& after,
                                  std::vector<std::string>& notes);

}  // namespace sluice::preview
