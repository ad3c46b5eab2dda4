// SPDX-License-Identifier: Apache-2.0
// The part of policy sets that has to do with DNS names: rules whose peers are
// names, and the lists of names that may be asked for.
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "lib/base/sequence.h"
#include "lib/policy/policy_sets.h"
#include "lib/policy/policy_sets_impl.h"

namespace sluice::policy {
namespace {

// Rules with the same servers apply together wherever one of them does, so that
// their names can be one list.
using Servers = std::tuple<bool, std::vector<SelectorId>, bool,
                           std::vector<PortRange>, std::vector<NamedPort>>;

Servers servers_of(const PlacedRule& placed) {
  auto peers = placed.rule->peers;
  sort_unique(peers);
  return {placed.rule->rule->any_peer, std::move(peers),
          placed.candidate.any_l4, placed.candidate.ranges,
          placed.rule->rule->l4.named};
}

bool has_list(const PlacedRule& placed) {
  return placed.candidate.name_level == 0 && !placed.rule->asked.empty();
}

}  // namespace

// By whom the rules apply to. Rules for names that have no level are left out:
// the set then gets no entries.
void PolicySets::index_rules(SetDirection& side) {
  number_lists(side);
  std::vector<Candidate*> candidates;
  candidates.reserve(side.rules.size());
  for (auto& placed : side.rules) {
    placed.candidate.order = static_cast<std::uint32_t>(candidates.size());
    candidates.push_back(&placed.candidate);
  }
  std::vector<std::size_t> for_names;
  for (std::size_t i = 0; i < side.rules.size(); ++i) {
    const auto& rule = *side.rules[i].rule;
    if (side.rules[i].candidate.name_level != 0) {
      for_names.push_back(i);
      continue;
    }
    if (rule.rule->any_peer) {
      side.any_peer.push_back(i);
    }
    for (const SelectorId id : rule.peers) {
      side.by_selector[id].push_back(i);
    }
  }
  side.too_many_levels = !set_name_levels(candidates);
  if (side.too_many_levels) {
    return;
  }
  for (const std::size_t i : for_names) {
    const auto& rule = *side.rules[i].rule;
    for (const std::uint32_t id : rule.names) {
      side.by_name[id].push_back(i);
    }
    if (rule.names_within) {
      side.by_selector[*rule.names_within].push_back(i);
    } else {
      side.any_peer.push_back(i);
    }
  }
}

// Gives the DNS rules their bits, in the order of the rules. Lists of the same
// names share one.
void PolicySets::number_lists(SetDirection& side) {
  std::map<Servers, std::set<std::uint32_t>> names;
  for (auto& placed : side.rules) {
    if (has_list(placed)) {
      names[servers_of(placed)].insert(placed.rule->asked.begin(),
                                       placed.rule->asked.end());
    } else if (placed.rule->rule->dns && placed.candidate.name_level == 0) {
      placed.candidate.dns = SLUICE_DNS_ANY;
    }
  }
  std::map<std::set<std::uint32_t>, int> numbers;
  for (auto& placed : side.rules) {
    if (!has_list(placed)) {
      continue;
    }
    const int number = numbers
                           .try_emplace(names.at(servers_of(placed)),
                                        static_cast<int>(numbers.size()))
                           .first->second;
    if (number >= kDnsListsMax) {
      side.too_many_lists = true;
      return;
    }
    placed.candidate.dns = static_cast<std::uint8_t>(1U << number);
    for (const std::uint32_t name : placed.rule->asked) {
      side.lists.at(number).push_back({.name = name, .rule = placed.rule->id});
    }
  }
}

// The entries that are looked up for addresses with the name where those of
// their class deny.
std::vector<L4Entry> PolicySets::compile_name(const SetDirection& direction,
                                              std::uint32_t name) {
  std::vector<const Candidate*> rules;
  if (const auto found = direction.by_name.find(name);
      found != direction.by_name.end()) {
    for (const std::size_t i : found->second) {
      rules.push_back(&direction.rules[i].candidate);
    }
  }
  return compile_l4(Decision::of_name(rules), Decision({}, true), Decided{});
}

void PolicySets::count_lists(SetRecord& set, const std::vector<L4Entry>& before,
                             const std::vector<L4Entry>& after) {
  for (const auto& entry : after) {
    if (const auto list = list_of(entry); list != 0) {
      ++set.list_refs[list];
    }
  }
  for (const auto& entry : before) {
    const auto list = list_of(entry);
    if (list != 0 && --set.list_refs.at(list) == 0) {
      set.list_refs.erase(list);
    }
  }
}

// The members of the lists; where several rules have a name, the first of them.
std::vector<Question> PolicySets::questions_of(
    const SetDirection& egress, const std::set<std::uint8_t>& lists) {
  std::vector<Question> result;
  for (const std::uint8_t list : lists) {
    std::map<std::uint32_t, std::uint32_t> rules;  // by name
    for (std::size_t bit = 0; bit < egress.lists.size(); ++bit) {
      if ((list >> bit & 1) == 0) {
        continue;
      }
      for (const auto& asked : egress.lists.at(bit)) {
        rules.try_emplace(asked.name, asked.rule);
      }
    }
    for (const auto& [name, rule] : rules) {
      result.push_back({.name = name, .list = list, .rule = rule});
    }
  }
  std::ranges::sort(result);
  return result;
}

// Brings the members of the lists up to date with the rules and entries.
void PolicySets::update_questions(SetRecord& set) {
  std::set<std::uint8_t> lists;
  for (const auto& [list, refs] : set.list_refs) {
    lists.insert(list);
  }
  auto now = questions_of(set.directions[index_of(Direction::kEgress)], lists);
  if (now == set.questions) {
    return;
  }
  std::map<std::uint32_t, bool> had;
  std::map<std::pair<std::uint32_t, std::uint8_t>, std::optional<Question>>
      changed;
  for (const auto& question : set.questions) {
    had.try_emplace(question.name, true);
    changed[{question.name, question.list}] = std::nullopt;
  }
  for (const auto& question : now) {
    had.try_emplace(question.name, set.has_entries(question.name));
    if (std::ranges::binary_search(set.questions, question)) {
      changed.erase({question.name, question.list});
    } else {
      changed[{question.name, question.list}] = question;
    }
  }
  set.size += now.size();
  set.size -= set.questions.size();
  count_entries(set, set.questions.size(), now.size());
  set.questions = std::move(now);
  for (const auto& [name, before] : had) {
    note_class(set, name, before);
  }
  if (changes_.created.contains(set.id)) {
    return;
  }
  auto& noted = changes_.sets[set.id].entries;
  for (const auto& [place, question] : changed) {
    noted.push_back({.key = question_key(
                         set.id, {.name = place.first, .list = place.second}),
                     .value = question ? std::optional(value_of(*question))
                                       : std::nullopt});
  }
}

}  // namespace sluice::policy
