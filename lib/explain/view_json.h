// SPDX-License-Identifier: Apache-2.0
#pragma once

// The view to JSON and back. Only for source files: the JSON library is heavy.

#include <nlohmann/json.hpp>

#include "lib/explain/view.h"

namespace sluice::explain {

// The macro declares a variable that could be const.
// NOLINTBEGIN(misc-const-correctness)

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(NearMissView, policy, path,
                                                action, differs, detail)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(
    SideView, direction, endpoint, unknown, node, peer, names, pattern, matched,
    judged, allowed, isolated, reason, policy, path, policy_id, entry,
    isolating, near_misses, behind, backend)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ExplainView, from, to, port,
                                                allowed, summary, sides)

// NOLINTEND(misc-const-correctness)

}  // namespace sluice::explain
