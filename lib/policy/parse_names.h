// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "lib/policy/parse_context.h"
#include "lib/policy/rule.h"

// Internal to the parsers: DNS names.
namespace sluice::policy {

// CiliumNetworkPolicy's toFQDNs[].
void parse_fqdn(const Field& field, Rule& rule, ParseContext& context);
// CiliumNetworkPolicy's toPorts[].rules: `dns` alone; every other member is
// refused. nullopt if it restricts no questions, or is wrong.
std::optional<DnsRule> parse_port_rules(const Field& rules, Direction direction,
                                        ParseContext& context);
// CiliumNetworkPolicy's toPorts[].ports[] beside rules.dns: one port of TCP or
// UDP.
void parse_dns_port(const Field& port, L4& out, ParseContext& context);
// ClusterNetworkPolicy's domainNames[].
void parse_domain_name(const Field& field, Rule& rule, Problems& problems);

}  // namespace sluice::policy
