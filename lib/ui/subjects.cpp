// SPDX-License-Identifier: Apache-2.0
#include "lib/ui/subjects.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "lib/kube/workload.h"

namespace sluice::ui {
namespace {

// Of one policy.
constexpr std::size_t kSubjectsMax = 500;
constexpr std::size_t kNodesMax = 100;
// Pods of all policies whose workloads are found: about 50 ms.
constexpr std::size_t kPodsInAll = 200'000;
constexpr std::size_t kSubjectsInAll = 50'000;
constexpr std::size_t kNodesInAll = 50'000;

}  // namespace

SubjectFinder::SubjectFinder(const policy::Translator& translator,
                             Problem problem)
    : translator_(&translator),
      problem_(std::move(problem)),
      pods_left_(kPodsInAll),
      subjects_left_(kSubjectsInAll),
      nodes_left_(kNodesInAll) {}

void SubjectFinder::find(PolicyView& view) {
  std::set<Workload> subjects;
  const auto most = std::min(kSubjectsMax, subjects_left_);
  std::set<std::string> nodes;
  translator_->visit_subjects(
      {.kind = view.kind, .ns = view.ns, .name = view.name},
      [&](const kube::Pod& pod) {
        if (!nodes.contains(pod.node)) {
          nodes.insert(pod.node);
        }
        if (view.more_subjects || pods_left_ == 0) {
          view.more_subjects = true;
          return;
        }
        --pods_left_;
        auto owner = kube::workload_of(pod);
        Workload workload{.ns = pod.ns,
                          .kind = std::move(owner.kind),
                          .name = std::move(owner.name)};
        if (subjects.size() < most || subjects.contains(workload)) {
          subjects.insert(std::move(workload));
        } else {
          view.more_subjects = true;
        }
      });
  view.subjects.assign(subjects.begin(), subjects.end());
  subjects_left_ -= subjects.size();
  for (const auto& node : nodes) {
    if (auto problem = problem_(node)) {
      view.nodes.push_back({.node = node, .problem = std::move(*problem)});
    }
  }
  const auto in_force = std::ranges::stable_partition(
      view.nodes, [](const PolicyNode& node) { return !node.problem.empty(); });
  view.nodes_in_all = view.nodes.size();
  view.nodes_in_force = in_force.size();
  view.nodes.resize(std::min({view.nodes.size(), kNodesMax, nodes_left_}));
  nodes_left_ -= view.nodes.size();
}

}  // namespace sluice::ui
