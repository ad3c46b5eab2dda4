// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/policy/translator.h"
#include "lib/ui/sources.h"

namespace sluice::ui {

// The matrix of a namespace, as explain::reach() judges it; of as many
// workloads and ports as fit. `pods`: the namespace's, "namespace/name". Ports
// are those asked for and those that the pods give names to. Fails for a port
// that is none.
Result<ReachView> reach_of(const policy::Translator& translator,
                           const std::string& ns,
                           const std::vector<std::string>& pods,
                           const std::vector<std::string>& ports);

}  // namespace sluice::ui
