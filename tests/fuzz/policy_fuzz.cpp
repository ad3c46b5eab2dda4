// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <variant>

#include <nlohmann/json.hpp>

#include "lib/policy/parse.h"
#include "tests/fuzz/fuzz.h"

// JSON as a policy: an error with a text or a policy that keeps to what rule.h
// says of it.
namespace {

using sluice::fuzz::check;
using sluice::policy::Rule;

bool is_sorted_unique(const auto& list) {
  return std::ranges::adjacent_find(list, std::ranges::greater_equal()) ==
         list.end();
}

void check_selector(const sluice::policy::LabelSelector& selector) {
  check(is_sorted_unique(selector.requirements), "requirements are sorted");
  for (const auto& requirement : selector.requirements) {
    using Op = sluice::policy::Requirement::Op;
    const bool wants =
        requirement.op == Op::kIn || requirement.op == Op::kNotIn;
    check(wants != requirement.values.empty(), "values are where they belong");
    check(is_sorted_unique(requirement.values), "values are sorted");
    check(!requirement.key.empty(), "a requirement has a key");
  }
}

void check_excepts(const std::vector<sluice::IpPrefix>& excepts) {
  check(is_sorted_unique(excepts), "excepts are sorted");
}

void check_pattern(const sluice::dns::NamePattern& pattern) {
  const auto again = sluice::dns::NamePattern::match_pattern(pattern.text());
  check(again && *again == pattern, "a pattern's text means the same pattern");
}

struct CheckPeer {
  void operator()(const sluice::policy::LabelSelector& selector) const {
    check_selector(selector);
  }
  void operator()(sluice::policy::Entity /*entity*/) const {}
  void operator()(const sluice::policy::CidrPeer& cidr) const {
    check(cidr.cidr == sluice::make_prefix(cidr.cidr.address, cidr.cidr.length),
          "host bits are cleared");
    check_excepts(cidr.except);
  }
  void operator()(const sluice::policy::CidrGroupPeer& group) const {
    check(group.name.empty() == group.selector.has_value(),
          "a group has a name or a selector");
    if (group.selector) {
      check_selector(*group.selector);
    }
    check_excepts(group.except);
  }
  void operator()(const sluice::policy::ServicePeer& service) const {
    check(service.name.empty() == service.selector.has_value(),
          "a Service has a name or a selector");
    if (service.selector) {
      check_selector(*service.selector);
    }
  }
  void operator()(const sluice::policy::NodePeer& nodes) const {
    check_selector(nodes.selector);
  }
  void operator()(const sluice::policy::NamePeer& names) const {
    check_pattern(names.pattern);
  }
};

void check_rule(const Rule& rule) {
  check(!rule.path.empty(), "a rule has a path");
  check(!rule.any_peer || rule.peers.empty(), "any peer has no list");
  check(!rule.l4.any || (rule.l4.ranges.empty() && rule.l4.named.empty()),
        "any protocol has no list");
  for (const auto& range : rule.l4.ranges) {
    check(range.first <= range.last, "a range is not empty");
  }
  for (const auto& peer : rule.peers) {
    std::visit(CheckPeer{}, peer);
  }
  if (rule.dns) {
    check(!rule.dns->names.empty() && is_sorted_unique(rule.dns->names),
          "names are sorted");
    std::ranges::for_each(rule.dns->names, check_pattern);
    check(std::ranges::all_of(
              rule.l4.ranges,
              [](const auto& range) { return range.first == range.last; }),
          "DNS rules have single ports");
  }
}

void check_policy(const sluice::policy::Policy& policy) {
  check(!policy.key.name.empty(), "a policy has a name");
  for (const auto& spec : policy.specs) {
    check_selector(spec.subject);
    std::ranges::for_each(spec.rules, check_rule);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  const auto object =
      sluice::fuzz::parse_bounded(sluice::fuzz::as_text(data, size));
  if (!object) {
    return 0;
  }
  const auto policy = sluice::policy::parse_policy(*object);
  if (!policy) {
    check(!policy.error().message.empty(), "an error has a text");
    check(nlohmann::json::accept(nlohmann::json(policy.error().message).dump()),
          "an error is valid UTF-8");
    return 0;
  }
  check_policy(*policy);
  check(sluice::policy::parse_policy(*object).value() == *policy,
        "the same object gives the same policy");
  return 0;
}
