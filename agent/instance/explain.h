// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "agent/instance/text.h"
#include "agent/instance/views.h"
#include "lib/base/ip.h"
#include "lib/base/result.h"
#include "sluice/state.h"

// The common part of all answers to `sluice explain`.
namespace sluice::instance {

struct ExplainEnd {
  std::string text;
  std::vector<IpAddress> ips;  // those in question
};

// Fills in what is known about one end. `side` has the direction, the end's
// text and the peer; `own`: the end's address.
using DescribeSide =
    std::function<void(SideView& side, sluice_direction direction,
                       const IpAddress& own, const IpAddress& peer)>;

// Explains both ends, for every pair of addresses between which the port's
// protocol can be used.
Result<ExplainView> explain_ends(const ExplainEnd& from, const ExplainEnd& to,
                                 const PortArgument& port,
                                 const DescribeSide& describe);

// Sets the result of the lookup in the maps: the verdict, the entry if one
// decided, and the rule if one is known.
void set_verdict(SideView& side, bool allowed, sluice_reason reason,
                 const RuleInfo* rule, const std::optional<PolicyEntry>& entry);

}  // namespace sluice::instance
