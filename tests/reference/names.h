// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "tests/reference/world.h"

// DNS names and what policies say of them, independent of lib/dns. Names and
// patterns are plain: no escapes.
namespace sluice::reference {

// An element of toFQDNs or rules.dns.
bool fqdn_matches(const json& selector, const std::string& name);
// An element of domainNames.
bool domain_matches(const std::string& domain, const std::string& name);

}  // namespace sluice::reference
