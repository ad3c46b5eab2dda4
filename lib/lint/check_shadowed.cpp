// SPDX-License-Identifier: Apache-2.0
// Rules that can change nothing: others of the same policy say the same, or a
// rule that denies comes before them. Only what is certain whatever pods and
// addresses there are.
#include <algorithm>
#include <ranges>
#include <utility>

#include "lib/base/sequence.h"
#include "lib/lint/checks.h"
#include "lib/lint/covers.h"

namespace sluice::lint {
namespace {

using policy::Action;
using policy::PeerSelector;
using policy::Rule;
using policy::Tier;

constexpr const char* kFirst = ", which comes first,";

// All peers of a rule; any peer is covered by any peer alone.
bool covers_any_peer(const Rule& wide, const Rule& narrow) {
  return wide.any_peer && covers(wide, PeerSelector{}, narrow);
}

}  // namespace

// True if `wide` decides before `narrow` where both are about a packet, or says
// the same.
bool Checks::decides_before(const PlacedRule& wide,
                            const PlacedRule& narrow) const {
  if (wide.rule->direction != narrow.rule->direction ||
      !covers(wide.place->spec->subject, narrow.place->spec->subject)) {
    return false;
  }
  const auto& ours = narrow.place->policy();
  const auto& theirs = wide.place->policy();
  if (wide.place->object != narrow.place->object) {
    return narrow.rule->action != Action::kDeny &&
           wide.rule->action == Action::kDeny &&
           (theirs.tier < ours.tier ||
            (theirs.tier == ours.tier && (ours.tier == Tier::kNormal ||
                                          theirs.priority < ours.priority))) &&
           (theirs.tier == ours.tier || !may_pass(wide));
  }
  if (ours.tier != Tier::kNormal) {
    return wide.index < narrow.index;
  }
  // Without the narrow rule its pods stay isolated, by the wide one's spec.
  const auto side = static_cast<std::size_t>(narrow.rule->direction);
  const auto& spec = *narrow.place->spec;
  const auto& other = *wide.place->spec;
  return (wide.rule->action == Action::kDeny ||
          narrow.rule->action == Action::kAllow) &&
         (other.default_deny[side] || !spec.default_deny[side]) &&
         other.log == spec.log && other.log_value == spec.log_value;
}

// True if a rule that passes may come before the one that denies, which then
// does not decide for later tiers.
bool Checks::may_pass(const PlacedRule& deny) const {
  const auto& policy = deny.place->policy();
  return policy.tier != Tier::kNormal &&
         std::ranges::any_of(passes_, [&](const PlacedRule& pass) {
           const auto& other = pass.place->policy();
           const bool before = pass.place->object == deny.place->object
                                   ? pass.index < deny.index
                                   : other.priority <= policy.priority;
           return before && other.tier == policy.tier &&
                  pass.rule->direction == deny.rule->direction;
         });
}

// The rules that together cover it, as people read them; none: they do not.
std::vector<std::string> Checks::shadows_of(
    const PlacedRule& narrow, const std::vector<PlacedRule>& rules) const {
  std::vector<std::string> names;
  const auto covered = [&](const auto& covers_peer) {
    for (const auto* list : {&rules, &denies_}) {
      const auto is_wide = [&](const PlacedRule& wide) {
        const bool same_element = wide.place->spec == narrow.place->spec &&
                                  wide.rule->path == narrow.rule->path;
        const bool twice =
            list == &denies_ && wide.place->object == narrow.place->object;
        return !wide.gone && !same_element && !twice && !is_empty(*wide.rule) &&
               decides_before(wide, narrow) && covers_peer(*wide.rule);
      };
      const auto found = std::ranges::find_if(*list, is_wide);
      if (found == list->end()) {
        continue;
      }
      const bool own = found->place->object == narrow.place->object;
      const auto name =
          (own ? "" : to_string(found->place->policy().key) + " ") +
          found->rule->path +
          (found->rule->action == narrow.rule->action ? "" : kFirst);
      if (std::ranges::find(names, name) == names.end()) {
        names.push_back(name);
      }
      return true;
    }
    return false;
  };
  const auto& rule = *narrow.rule;
  const bool all =
      rule.any_peer
          ? covered(
                [&](const Rule& wide) { return covers_any_peer(wide, rule); })
          : std::ranges::all_of(rule.peers, [&](const PeerSelector& peer) {
              return covered(
                  [&](const Rule& wide) { return covers(wide, peer, rule); });
            });
  return all ? names : std::vector<std::string>{};
}

// From the last rule to the first, and without those that are found, so that
// all of them can be left out at once. What is one element in the object, and
// several rules by its ports, is found as a whole.
void Checks::check_shadowed(const PolicyObject& object,
                            std::vector<PlacedRule>& rules) {
  std::vector<std::string> messages;
  for (std::size_t end = rules.size(); end > 0;) {
    std::size_t begin = end - 1;
    while (begin > 0 &&
           rules[begin - 1].place->spec == rules[begin].place->spec &&
           rules[begin - 1].rule->path == rules[begin].rule->path) {
      --begin;
    }
    std::vector<std::string> names;
    bool all = true;
    for (std::size_t i = begin; i < end && all; ++i) {
      const auto shadows = is_empty(*rules[i].rule)
                               ? std::vector<std::string>{}
                               : shadows_of(rules[i], rules);
      all = !shadows.empty();
      names.insert(names.end(), shadows.begin(), shadows.end());
    }
    if (all) {
      // Its pods stay isolated by a rule that allows nothing.
      const bool denied = rules[begin].rule->action == Action::kAllow &&
                          std::ranges::any_of(names, [](const auto& name) {
                            return name.ends_with(kFirst);
                          });
      const std::string what = denied ? "allows" : "changes";
      std::ranges::sort(names);
      names.erase(std::ranges::unique(names).begin(), names.end());
      for (std::size_t i = begin; i < end; ++i) {
        rules[i].gone = true;
      }
      messages.push_back(rules[begin].rule->path + ": " + what +
                         " nothing, because " + joined(names, " and ") +
                         (names.size() == 1 ? " covers" : " cover") +
                         " all of it");
    }
    end = begin;
  }
  for (auto& message : messages | std::views::reverse) {
    add(object, Code::kShadowed, std::move(message));
  }
}

void Checks::check_shadowed() {
  std::vector<std::vector<PlacedRule>> by_policy;
  const PolicyObject* last = nullptr;
  for (const auto& place : places_) {
    if (place.object != last) {
      by_policy.emplace_back();
      last = place.object;
    }
    for (std::size_t i = 0; i < place.spec->rules.size(); ++i) {
      const PlacedRule rule{
          .place = &place, .rule = &place.spec->rules[i], .index = i};
      by_policy.back().push_back(rule);
      if (rule.rule->action == Action::kDeny) {
        denies_.push_back(rule);
      } else if (rule.rule->action == Action::kPass) {
        passes_.push_back(rule);
      }
    }
  }
  for (auto& rules : by_policy) {
    if (!rules.empty()) {
      check_shadowed(*rules[0].place->object, rules);
    }
  }
}

}  // namespace sluice::lint
