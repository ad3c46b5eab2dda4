// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/policy/rule.h"

// Whether one part of a rule includes another, whatever pods and addresses
// there are. True only if it is certain.
namespace sluice::lint {

[[nodiscard]] bool covers(const policy::LabelSelector& wide,
                          const policy::LabelSelector& narrow);
[[nodiscard]] bool covers(const policy::PeerSelector& wide,
                          const policy::PeerSelector& narrow);
[[nodiscard]] bool covers(const policy::L4& wide, const policy::L4& narrow);
// The whole rule and one peer of the other; of two that allow, also what one
// may ask DNS servers for.
[[nodiscard]] bool covers(const policy::Rule& wide,
                          const policy::PeerSelector& narrow_peer,
                          const policy::Rule& narrow);

// True if no pod can match both.
[[nodiscard]] bool are_disjoint(const policy::LabelSelector& a,
                                const policy::LabelSelector& b);

// True if the rule is about no peer or no port at all.
[[nodiscard]] bool is_empty(const policy::Rule& rule);

}  // namespace sluice::lint
