// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/kube/cidr.h"
#include "lib/kube/field.h"
#include "lib/policy/rule.h"

// Internal to the parsers.
namespace sluice::policy {

using kube::Field;
using kube::in_quotes;
using kube::Problems;

// The data of a parser: the policy that it fills in, the problems of the
// object, and the object's namespace (empty: cluster-wide).
struct ParseContext {
  Policy policy;
  Problems problems;

  [[nodiscard]] const std::string& ns() const { return policy.key.ns; }
  void warn(const Field& field, std::string_view what);
};

// Adds a problem "not supported" for every existing member in `names`.
void refuse(const Field& field, std::initializer_list<std::string_view> names,
            Problems& problems);
// Returns the member, or nullopt and a problem if it is missing.
std::optional<Field> require(const Field& parent, std::string_view name,
                             Problems& problems);
// Returns the CIDR in the field, or nullopt and a problem.
std::optional<kube::Cidr> parse_cidr_at(const Field& field, Problems& problems);
// Returns the number of elements of a list member: 0 if it is absent or, with a
// problem, not a list.
std::size_t list_size(const Field& parent, std::string_view name,
                      Problems& problems);

// One parser for each kind of policy. The object's kind and metadata have been
// read already; these read the spec.
void parse_cilium(const Field& root, ParseContext& context);
void parse_network_policy(const Field& root, ParseContext& context);
void parse_cluster_network_policy(const Field& root, ParseContext& context);

// Likewise for an invalid object: these read only the subjects of its specs and
// the directions in which each isolates them, as far as they are readable.
void isolate_cilium(const Field& root, ParseContext& context);
void isolate_network_policy(const Field& root, ParseContext& context);
void isolate_cluster_network_policy(const Field& root, ParseContext& context);

}  // namespace sluice::policy
