// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/policy/parse_context.h"
#include "lib/policy/rule.h"

// Internal to the parser of CiliumNetworkPolicy and
// CiliumClusterwideNetworkPolicy, which is in parse_cilium*.cpp.
namespace sluice::policy {

// Parses the subject of a spec. For a CiliumNetworkPolicy, it is in the
// policy's own namespace. `selects_init`: it names the label of pods that have
// no labels yet.
LabelSelector parse_cilium_subject(const Field& selector, ParseContext& context,
                                   bool& selects_init);
// Parses a peer of fromEndpoints or toEndpoints, and adds the scope of
// namespace and cluster.
LabelSelector parse_cilium_peer(const Field& selector,
                                bool subject_selects_init,
                                ParseContext& context);
// Parses the L3 members of a rule into any_peer and peers. `l4`: the rule
// restricts ports or ICMP types, so that without an L3 member it means any
// peer.
void parse_cilium_peers(const Field& field, bool subject_selects_init, bool l4,
                        Rule& rule, ParseContext& context);

}  // namespace sluice::policy
