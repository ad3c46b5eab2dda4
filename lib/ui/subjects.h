// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "lib/policy/translator.h"
#include "lib/ui/sources.h"

namespace sluice::ui {

// Fills in what policies select, and the nodes of these pods: the view has the
// policy's name.
class SubjectFinder {
 public:
  // Why the policies of a node are not in force there; empty: they are.
  // nullopt: nothing is said of the node.
  using Problem =
      std::function<std::optional<std::string>(const std::string& node)>;

  SubjectFinder(const policy::Translator& translator, Problem problem);

  // The work is that of the pods that the policy selects. After very many of
  // them, views have no subjects, or no nodes, but their numbers: all views
  // together are a few megabytes.
  void find(PolicyView& view);

 private:
  const policy::Translator* translator_;
  Problem problem_;
  std::size_t pods_left_;
  std::size_t subjects_left_;
  std::size_t nodes_left_;
};

}  // namespace sluice::ui
