// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "lib/base/result.h"
#include "lib/policy/rule.h"

namespace sluice::policy {

// True for the kinds that parse_policy() takes.
bool is_policy(std::string_view api_version, std::string_view kind);

// Parses and validates one policy object (CiliumNetworkPolicy,
// CiliumClusterwideNetworkPolicy, NetworkPolicy, ClusterNetworkPolicy) as the
// API server stores it, applying the API's defaults. Strict: an unknown or
// unsupported field makes the whole object invalid. The error names the field:
// "spec.ingress[0].toPorts[0].ports[0].port: unable to parse port \"65536\"".
// No exceptions, whatever the input.
Result<Policy> parse_policy(const nlohmann::json& object);

// Returns the replacement for a policy that parse_policy() refuses: it isolates
// the same subjects in the same directions and allows nothing. nullopt if the
// subject or the directions cannot be read. A ClusterNetworkPolicy isolates in
// the directions for which it has rules, as a NetworkPolicy without rules
// would.
std::optional<Policy> parse_isolation(const nlohmann::json& object);
// "ingress", "egress" or "ingress and egress": the directions that its specs
// isolate.
std::string isolated_directions(const Policy& policy);

}  // namespace sluice::policy
