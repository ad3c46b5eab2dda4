// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/policy/translator.h"
#include "lib/ui/sources.h"

namespace sluice::ui {

// The workloads and ports that the matrix of a namespace is about, as far as
// they fit. `pods`: the namespace's, "namespace/name". Ports are those asked
// for and those that the pods give names to. Fails for a port that is none.
Result<ReachView> reach_of(const policy::Translator& translator,
                           const std::string& ns,
                           const std::vector<std::string>& pods,
                           const std::vector<std::string>& ports);

// Fills in the row of one source: for each destination and port, whether the
// rules of both ends allow a connection between the first pods of the two, in
// every address family that these share. A workload whose pods differ in their
// labels is not one to policy, and the matrix tells only of the first of them.
void fill_reach_row(const policy::Translator& translator, std::size_t source,
                    ReachView& view);

}  // namespace sluice::ui
