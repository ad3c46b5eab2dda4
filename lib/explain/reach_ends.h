// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "lib/explain/reach_judge.h"
#include "lib/explain/reach_view.h"
#include "lib/kube/objects.h"
#include "lib/policy/translator.h"

// The ends of a reachability table.
namespace sluice::explain {

// Pods that are shown as one.
struct Workload {
  ReachEnd end;
  std::vector<const kube::Pod*> pods;
};
// What creates them is the same, or, where nobody does, their labels are. In
// order of their names. `notes`: which pods are in none.
std::vector<Workload> workloads_of(const policy::Translator& translator,
                                   const std::vector<std::string>& pods,
                                   std::vector<std::string>& notes);

// "a, b, c and 2 more".
std::string some_names(const std::vector<std::string>& names);
// Adds "a, b, c and 2 more: why", if there are names.
void add_note(std::vector<std::string>& notes,
              const std::vector<std::string>& names, const std::string& why);

// What entries know of a pod: its policy set and, by family, its class.
using SetAndClasses =
    std::tuple<std::uint32_t, std::array<std::optional<std::uint32_t>, 2>>;
SetAndClasses set_and_classes(const ReachJudge::PodView& pod);

// Pods of one end between which there is no difference.
struct Variant {
  std::vector<const ReachJudge::PodView*> pods;  // not empty
  [[nodiscard]] const ReachJudge::PodView& first() const {
    return *pods.front();
  }
};
// `pods`: of one end.
std::vector<Variant> variants_of(
    const std::vector<const ReachJudge::PodView*>& pods);

// An end outside of all pods that has a name: "world", "host", ...
ReachEnd entity_end(const char* name);

// An end outside of all pods. Which addresses it has may depend on the node.
struct Outside {
  enum class Kind : std::uint8_t { kFixed, kOwnNode, kOtherNodes };
  ReachEnd end;
  Kind kind = Kind::kFixed;
  std::vector<ReachJudge::Peers> peers;  // kFixed
  [[nodiscard]] const std::vector<ReachJudge::Peers>& seen_by(
      const ReachJudge::PodView& pod) const;
};
// The world first. `notes`: what of it is left out.
std::vector<Outside> outside_ends(const ReachJudge& judge,
                                  std::vector<std::string>& notes);

}  // namespace sluice::explain
