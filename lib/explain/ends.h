// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/ip.h"
#include "lib/base/result.h"
#include "lib/explain/text.h"
#include "lib/explain/view.h"
#include "lib/policy/near_miss.h"
#include "sluice/state.h"

// The common part of all answers to `sluice explain`.
namespace sluice::explain {

struct ExplainEnd {
  std::string text;
  std::vector<IpAddress> ips;  // those in question
};

// Appends what is known about one end: usually one side, and for a receiver
// that is a Service one for each backend. `side` has the direction, the end's
// text and the peer; `own`: the end's address.
using DescribeSide = std::function<void(
    ExplainView& view, SideView side, sluice_direction direction,
    const IpAddress& own, const IpAddress& peer)>;

// "80/TCP", also if the request does not name the protocol.
std::string port_text(const PortArgument& port);

// Explains both ends, for every pair of addresses between which the port's
// protocol can be used.
Result<ExplainView> explain_ends(const ExplainEnd& from, const ExplainEnd& to,
                                 const PortArgument& port,
                                 const DescribeSide& describe);

// Sets the result of the lookup in the maps: the verdict, the entry if one
// decided, and the rule if one is known.
void set_verdict(SideView& side, bool allowed, sluice_reason reason,
                 const RuleInfo* rule, const std::optional<PolicyEntry>& entry);

// Says by which of the side's names its rule for names decided: those that the
// pattern matches. Nothing changes if it is empty.
void set_pattern(SideView& side, const std::string& pattern);

// Takes over the near misses, which both the rules and a node's entries give.
void add_near_misses(SideView& side, std::vector<policy::NearMiss> misses);

// The text of an end that was asked for by an address which a pod has.
std::string pod_at(const std::string& pod, const IpAddress& address);

}  // namespace sluice::explain
