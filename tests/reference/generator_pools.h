// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <string>
#include <vector>

#include "tests/reference/generator.h"

// What the parts of the generator have in common.
namespace sluice::reference {

inline const std::vector<int> kIcmp4Types{0, 3, 8, 11, 255};
inline const std::vector<int> kIcmp6Types{1, 128, 129};
inline const std::vector<std::string> kNames{
    "example.com",   "api.example.com", "a.b.example.com",
    "b.example.com", "apis.test",       "x-1.apis.test"};

// Nested and overlapping prefixes, of pods, nodes and the world; half of them
// made up from these with another length. `host_bits`: they may be set.
std::string random_cidr(Random& random, bool v6, bool host_bits);
// A prefix strictly within `cidr`, or empty if it is a single address.
std::string random_hole(Random& random, const std::string& cidr);

// Keys of pods' labels, and the values that a key of pods or namespaces has.
extern const std::vector<const char*> kLabelKeys;
std::vector<const char*> label_values(const std::string& key);
// An element of matchExpressions.
nlohmann::json random_expression(Random& random, const std::string& key,
                                 const std::vector<const char*>& values);
// Plain Kubernetes label selectors.
nlohmann::json random_pod_selector(Random& random);
nlohmann::json random_namespace_selector(
    Random& random, const std::vector<std::string>& namespaces);

// An element of toFQDNs or rules.dns.
nlohmann::json random_fqdn(Random& random);
// An element of toPorts with rules.dns.
nlohmann::json random_dns_element(Random& random);
// A peer of a ClusterNetworkPolicy: {domainNames}.
nlohmann::json random_domain_names(Random& random);

}  // namespace sluice::reference
