// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/policy/identity.h"
#include "lib/policy/parse_context.h"
#include "lib/policy/rule.h"

// Internal to the parsers: label selectors.
namespace sluice::policy {

// The form of keys: "app" or, with a source, "k8s:app".
enum class KeySyntax : std::uint8_t { kKubernetes, kCilium };

// A requirement as written.
struct Term {
  Requirement requirement;   // key normalised as rule.h says
  std::string source;        // kCilium: "k8s", "reserved", ...; "any" if none
  bool match_label = false;  // from matchLabels
};

// Reads matchLabels and matchExpressions and reports their problems.
std::vector<Term> parse_terms(const Field& selector, KeySyntax syntax,
                              Problems& problems);

// A selector of Kubernetes' own kinds: keys are prefixed with `prefix`.
void add_selector(const Field& selector, std::string_view prefix,
                  LabelSelector& out, Problems& problems);

Requirement require_in(std::string_view key, std::string value);
Requirement require_exists(std::string_view key);
// Sorts and removes duplicates, as rule.h requires.
void normalise(LabelSelector& selector);

bool is_dns_label(std::string_view text);
bool is_dns_subdomain(std::string_view text);

}  // namespace sluice::policy
