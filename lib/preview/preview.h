// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/policy/translator.h"
#include "lib/preview/view.h"

namespace sluice::preview {

// The objects of a cluster. The translator must outlive it.
struct World {
  const policy::Translator* translator = nullptr;
  std::vector<std::string> pods;  // "namespace/name"
};

// Compares two worlds, of which the second is the first with a change: what
// explain_cluster() says of every pair of pods, and of a pod and an end outside
// of all pods, at every port. Ports and prefixes that only one of the worlds
// names count in both. Pods that are in one of them only are left out, and so
// are node ports and host ports.
//
// Pods that no rule of either world tells apart are compared once.
//
// `outside`: with the ends that are no pods.
View compare(const World& before, const World& after, bool outside = true);

}  // namespace sluice::preview
