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

// What a parser works on: the policy it fills in, what is wrong with the
// object, and which namespace it is in (empty: cluster-wide).
struct ParseContext {
  Policy policy;
  Problems problems;

  [[nodiscard]] const std::string& ns() const { return policy.key.ns; }
  void warn(const Field& field, std::string_view what);
};

// Says of every member of `names` that is there that it is not supported.
void refuse(const Field& field, std::initializer_list<std::string_view> names,
            Problems& problems);
// The member, or nullopt and a problem where it is missing.
std::optional<Field> require(const Field& parent, std::string_view name,
                             Problems& problems);
// The CIDR that the field spells, or nullopt and a problem.
std::optional<kube::Cidr> parse_cidr_at(const Field& field, Problems& problems);
// Elements of a list member: 0 if it is absent or, which is noted, no list.
std::size_t list_size(const Field& parent, std::string_view name,
                      Problems& problems);

// One for each policy language. The object's kind and metadata are read
// already; they read the spec.
void parse_cilium(const Field& root, ParseContext& context);
void parse_network_policy(const Field& root, ParseContext& context);
void parse_cluster_network_policy(const Field& root, ParseContext& context);

// Likewise, of an object that is not valid: only the subjects of its specs and
// the directions in which each isolates them, of those that can be read.
void isolate_cilium(const Field& root, ParseContext& context);
void isolate_network_policy(const Field& root, ParseContext& context);
void isolate_cluster_network_policy(const Field& root, ParseContext& context);

}  // namespace sluice::policy
