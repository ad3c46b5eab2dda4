// SPDX-License-Identifier: Apache-2.0
// How many entries a policy set may have, and all sets of a namespace together.
// What would need more is found out before the memory for it is spent, and
// costs those pods alone.
#include <algorithm>
#include <cerrno>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "lib/policy/policy_sets.h"
#include "lib/policy/policy_sets_impl.h"
#include "lib/policy/translator_impl.h"

namespace sluice::policy {
namespace {

// Entries that the rule's ports need for one class, at most.
std::size_t width_of(const L4& l4) {
  if (l4.any) {
    return 1;
  }
  std::size_t width = l4.named.size();
  for (const auto& range : l4.ranges) {
    width += port_prefixes(range.first, range.last).size();
  }
  return width;
}

// The CIDRs and excepts that the spec names.
std::set<IpPrefix> prefixes_of(const Spec& spec) {
  std::set<IpPrefix> prefixes;
  for (const auto& rule : spec.rules) {
    for (const auto& peer : rule.peers) {
      if (const auto* cidr = std::get_if<CidrPeer>(&peer)) {
        prefixes.insert(cidr->cidr);
        prefixes.insert(cidr->except.begin(), cidr->except.end());
      } else if (const auto* group = std::get_if<CidrGroupPeer>(&peer)) {
        prefixes.insert(group->except.begin(), group->except.end());
      }
    }
  }
  return prefixes;
}

// Never less than what the CIDRs, names and ports of the spec need.
std::size_t most_entries(const Spec& spec, std::size_t prefixes) {
  std::size_t names = 0;
  std::size_t questions = 0;
  std::size_t width = 0;
  for (const auto& rule : spec.rules) {
    width += width_of(rule.l4);
    questions += rule.dns ? rule.dns->names.size() : 0;
    for (const auto& peer : rule.peers) {
      names += std::holds_alternative<NamePeer>(peer) ? 1 : 0;
    }
  }
  // One class for each prefix, one for what is outside the cluster, and any
  // peer; one entry for what falls through. A name may be in every list.
  constexpr std::size_t kLists = std::size_t{1} << kDnsListsMax;
  return ((prefixes + names + 2) * (width + 1)) + (questions * kLists);
}

// Adds the lists of names that the entries name.
void add_lists(const std::vector<L4Entry>& entries,
               std::set<std::uint8_t>& lists) {
  for (const auto& entry : entries) {
    if (const auto list = list_of(entry); list != 0) {
      lists.insert(list);
    }
  }
}

std::string names_problem(const SetDirection& egress) {
  if (egress.too_many_levels) {
    return "its rules for names need more than " +
           std::to_string(kNameLevelsMax) +
           " levels: rules that deny or pass stand between them";
  }
  if (egress.too_many_lists) {
    return "its rules for DNS have more than " + std::to_string(kDnsListsMax) +
           " lists of names for different servers";
  }
  return {};
}

}  // namespace

PolicySets::Touched PolicySets::touched_by(const SetRecord& set) const {
  const auto& retired = classes_.changes().retired;
  Touched result;
  for (const Direction direction : kDirections) {
    auto& ids = result[index_of(direction)];
    ids = classes_touching(set, direction);
    std::erase_if(ids, [&](std::uint32_t id) { return retired.contains(id); });
    ids.insert(SLUICE_CIDR_ANY);
  }
  return result;
}

// What the namespace's other sets have.
std::size_t PolicySets::entries_beside(const SetRecord& set) const {
  const auto all = entries_of_.find(set.ns);
  std::size_t result = all == entries_of_.end() ? 0 : all->second;
  result -= set.size;
  for (const std::uint32_t id : changes_.retired) {
    const auto& gone = *sets_.at(id);
    if (id != set.id && gone.ns == set.ns) {
      result -= gone.size;
    }
  }
  return result;
}

std::size_t PolicySets::most_entries(const SetRecord& set) const {
  constexpr auto kUnlimited = std::numeric_limits<std::size_t>::max();
  const std::size_t own = limits_.of_set == 0 ? kUnlimited : limits_.of_set;
  if (limits_.of_namespace == 0 || set.ns.empty()) {
    return own;
  }
  const std::size_t beside = entries_beside(set);
  return std::min(
      own, limits_.of_namespace - std::min(beside, limits_.of_namespace));
}

void PolicySets::count_entries(const SetRecord& set, std::size_t before,
                               std::size_t after) {
  if (limits_.of_namespace == 0 || set.ns.empty() || before == after) {
    return;
  }
  auto& count = entries_of_[set.ns];
  count += after;
  count -= before;
  if (count == 0) {
    entries_of_.erase(set.ns);
  }
}

// nullopt: there would be more than the set may have. `done`: classes compiled.
std::optional<std::vector<PolicySets::Compiled>>
PolicySets::compile_within_bound(const SetRecord& set, const Touched& classes,
                                 std::size_t& done) const {
  std::vector<Compiled> result;
  const std::size_t most = most_entries(set);
  std::size_t total = 0;
  std::set<std::uint8_t> lists;
  for (const Direction direction : kDirections) {
    for (const std::uint32_t id : classes[index_of(direction)]) {
      static const ClassKey none;
      auto entries = compile(set, direction, id,
                             is_name_selector(id) ? none : classes_.key(id));
      if (direction == Direction::kEgress && !is_name_selector(id)) {
        add_lists(entries, lists);
      }
      total += entries.size();
      if (total > most) {
        return std::nullopt;
      }
      ++done;
      result.push_back({.direction = direction,
                        .cidr_id = id,
                        .entries = std::move(entries)});
    }
  }
  const auto questions =
      questions_of(set.directions[index_of(Direction::kEgress)], lists);
  if (total + questions.size() > most) {
    return std::nullopt;
  }
  return result;
}

// Gives the set the entries of all classes.
void PolicySets::compile_all(SetRecord& set) {
  const auto classes = touched_by(set);
  const std::size_t count = classes[0].size() + classes[1].size();
  if (auto problem = names_problem(set.directions[1]); !problem.empty()) {
    isolate_without_entries(set, std::move(problem), count);
    return;
  }
  std::size_t done = 0;
  auto compiled = compile_within_bound(set, classes, done);
  if (!compiled) {
    put_over(set, done, count);
    return;
  }
  set.problem.clear();
  oversized_.erase(set.id);
  over_share_.erase(set.id);
  for (const Direction direction : kDirections) {
    std::vector<std::uint32_t> gone;
    for (const auto& [id, entries] :
         set.directions[index_of(direction)].entries) {
      if (!classes[index_of(direction)].contains(id)) {
        gone.push_back(id);
      }
    }
    for (const std::uint32_t id : gone) {
      replace_entries(set, direction, id, {});
    }
  }
  for (auto& part : *compiled) {
    replace_entries(set, part.direction, part.cidr_id, std::move(part.entries));
  }
  update_questions(set);
}

void PolicySets::compile_one(SetRecord& set, std::uint32_t cidr_id,
                             const ClassKey& peer) {
  for (const Direction direction : kDirections) {
    const auto& stored = set.directions[index_of(direction)].entries;
    const auto old = stored.find(cidr_id);
    auto entries = compile(set, direction, cidr_id, peer);
    const std::size_t others =
        set.size - (old == stored.end() ? 0 : old->second.size());
    const std::size_t most = most_entries(set);
    bool fits = others + entries.size() <= most;
    if (fits) {
      replace_entries(set, direction, cidr_id, std::move(entries));
      update_questions(set);
      fits = set.size <= most;
    }
    if (!fits) {
      const auto classes = touched_by(set);
      put_over(set, stored.size(), classes[0].size() + classes[1].size());
      changes_.rebuilt.insert(set.id);
      return;
    }
  }
}

// Takes all its entries. Its last state cannot stay: the classes that its
// entries name may be gone, and where a rule denies, others would be open.
void PolicySets::isolate_without_entries(SetRecord& set, std::string problem,
                                         std::size_t classes) {
  for (const Direction direction : kDirections) {
    auto& entries = set.directions[index_of(direction)].entries;
    while (!entries.empty()) {
      const std::uint32_t id = entries.begin()->first;
      replace_entries(set, direction, id, {});
    }
  }
  update_questions(set);
  set.problem = std::move(problem);
  oversized_[set.id] = classes;
}

void PolicySets::put_over(SetRecord& set, std::size_t done,
                          std::size_t classes) {
  isolate_without_entries(set, "", classes);
  const std::size_t most = most_entries(set);
  set.problem = "its policies need more than " + std::to_string(most) +
                " policy-map entries (after " + std::to_string(done) + " of " +
                std::to_string(classes) + " peer classes)";
  if (limits_.of_namespace != 0 && !set.ns.empty() &&
      (limits_.of_set == 0 || most < limits_.of_set)) {
    const std::size_t beside = entries_beside(set);
    set.problem += ", which is what namespace " + set.ns + " has left of its " +
                   std::to_string(limits_.of_namespace) +
                   (beside == 0 ? ""
                                : "; its other pods' policies have " +
                                      std::to_string(beside));
    over_share_[set.id] = beside;
  }
}

// A set may fit again once it has to say something of fewer classes than when
// it last did not. Rules that change it are tried anyway.
void PolicySets::retry_oversized() {
  if (oversized_.empty()) {
    return;
  }
  std::set<std::uint32_t> candidates;
  for (const std::uint32_t cidr_id : classes_.changes().retired) {
    add_sets_touched_by(classes_.key(cidr_id), candidates);
  }
  for (const std::uint32_t id : candidates) {
    const auto it = oversized_.find(id);
    if (it == oversized_.end() || changes_.retired.contains(id)) {
      continue;
    }
    const auto classes = touched_by(*sets_.at(id));
    if (classes[0].size() + classes[1].size() < it->second) {
      dirty_.insert(id);
    }
  }
}

// A set may fit once the namespace's other sets have fewer entries than when it
// last did not. Every set that is tried again either fits or has seen a smaller
// number than before, so this ends.
void PolicySets::retry_over_share() {
  bool again = !over_share_.empty();
  while (std::exchange(again, false)) {
    for (const auto& [id, beside] : std::map(over_share_)) {
      auto& set = *sets_.at(id);
      if (changes_.retired.contains(id) || entries_beside(set) >= beside) {
        continue;
      }
      compile_all(set);
      changes_.rebuilt.insert(id);
      again = true;
    }
  }
}

const SetRecord* PolicySets::oversized_set(const PolicyKey& key) const {
  const auto record = policies_.find(key);
  if (oversized_.empty() || record == policies_.end()) {
    return nullptr;
  }
  for (const auto& spec : record->second->specs) {
    for (const std::uint32_t id : spec->sets) {
      const auto& set = *sets_.at(id);
      if (!set.problem.empty() && !set.pods.empty()) {
        return &set;
      }
    }
  }
  return nullptr;
}

std::string PolicySets::shortfall(const PolicyKey& key) const {
  const auto* set = oversized_set(key);
  if (set == nullptr) {
    return {};
  }
  const auto others = set->pods.size() - 1;
  return (*set->pods.begin())->name() +
         (others == 0 ? " is"
                      : " and " + std::to_string(others) + " more pods are") +
         " isolated: " + set->problem;
}

// Only where a simple product does not show that it fits, it is translated by
// itself, up to the bound.
Result<void> Translator::check_size(const Policy& policy) const {
  std::size_t most = impl_->options.max_set_entries;
  const std::size_t share = impl_->options.max_namespace_entries;
  if (share != 0 && !policy.key.ns.empty()) {
    most = most == 0 ? share : std::min(most, share);
  }
  for (const auto& spec : policy.specs) {
    const auto prefixes = prefixes_of(spec).size();
    // An except needs no entry, but an element in a map of the same size.
    if (most != 0 && prefixes > most) {
      return std::unexpected(Error{
          .message = "it names " + std::to_string(prefixes) +
                     " CIDRs and excepts, and may name " + std::to_string(most),
          .code = E2BIG});
    }
    if (most == 0 || most_entries(spec, prefixes) <= most) {
      continue;
    }
    Translator alone(impl_->options);
    Policy part = policy;
    part.specs = {spec};
    part.specs.front().subject = {};
    kube::Pod pod;
    pod.ns = "default";
    pod.name = "pod";
    pod.ips = {IpAddress{}};
    alone.set(pod);
    alone.set(part);
    alone.impl_->flush();
    if (const auto* set = alone.impl_->sets.oversized_set(policy.key)) {
      return std::unexpected(Error{.message = set->problem, .code = E2BIG});
    }
  }
  return {};
}

}  // namespace sluice::policy
