// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/policy/frontends.h"
#include "lib/policy/l4_tree.h"
#include "lib/policy/name_selectors.h"
#include "lib/policy/peer_classes.h"
#include "lib/policy/rule.h"
#include "lib/policy/selector_cache.h"
#include "lib/policy/services.h"
#include "sluice/state.h"

// Policies in use and the sets of them that apply to endpoints, with the
// policy-map entries of every set.
namespace sluice::policy {

struct RuleRecord {
  const Rule* rule = nullptr;  // in the policy's record
  std::uint32_t id = 0;
  std::vector<SelectorId> peers;
  std::vector<PeerSelector> behind;  // what its Services mean; sorted
  std::vector<std::uint32_t> names;  // selectors of names
  // The peers to which the names may lead: world; nullopt: any.
  std::optional<SelectorId> names_within;
  // Selectors of the names that its DNS servers may be asked for; none: of
  // every name, if `rule` has a DNS rule.
  std::vector<std::uint32_t> asked;
};

// A policy's spec: one subject with its rules.
struct SpecRecord {
  const Policy* policy = nullptr;
  const Spec* spec = nullptr;
  std::size_t index = 0;
  SelectorId subject = 0;
  std::vector<RuleRecord> rules;
  std::set<std::uint32_t> sets;  // that contain it
};

struct PolicyRecord {
  Policy policy;
  std::vector<std::unique_ptr<SpecRecord>> specs;
};

// A rule in its place among all rules of a set and direction. A rule with names
// and other peers has two places: `candidate.name_level` is not 0 in that of
// the names.
struct PlacedRule {
  const SpecRecord* spec = nullptr;
  const RuleRecord* rule = nullptr;
  Candidate candidate;         // named ports resolved at ingress
  bool named_at_peer = false;  // egress rule with named ports: per class
};

struct SetKey {
  std::vector<SpecRecord*> specs;   // sorted by policy and index
  std::vector<ResolvedPort> ports;  // the subjects' own, used at ingress
  // At which the set's subject counts as allowed for itself, where its policies
  // would not allow it and do allow all others that stand there.
  std::vector<OwnPort> own;  // sorted
  auto operator<=>(const SetKey&) const = default;
};

// A selector of names that may be asked for.
struct Asked {
  std::uint32_t name = 0;
  std::uint32_t rule = 0;
};

// A member of a list of names: what may be asked of the servers whose entries
// name the list.
struct Question {
  std::uint32_t name = 0;  // selector of names
  std::uint8_t list = 0;   // bits of SetDirection::lists
  std::uint32_t rule = 0;
  auto operator<=>(const Question&) const = default;
};

struct SetDirection {
  bool isolated = false;
  std::vector<PlacedRule> rules;  // in order
  std::vector<std::size_t> any_peer;
  std::map<SelectorId, std::vector<std::size_t>> by_selector;
  std::map<std::uint32_t, std::vector<std::size_t>> by_name;
  bool too_many_levels = false;  // of rules for names; see kNameLevelsMax
  // By the bit of Candidate::dns, the names of the DNS rules that have it.
  std::array<std::vector<Asked>, kDnsListsMax> lists;
  bool too_many_lists = false;
  std::unique_ptr<Decision> any_decision;
  // By class (0 = any) or selector of names.
  std::map<std::uint32_t, std::vector<L4Entry>> entries;
};

struct SetRecord {
  std::uint32_t id = 0;
  SetKey key;
  std::unordered_set<PodRecord*> pods;  // endpoints that have it
  std::array<SetDirection, 2> directions;
  // Lists of names, by how many egress entries name them, and their members.
  std::map<std::uint8_t, std::size_t> list_refs;
  std::vector<Question> questions;  // sorted
  std::size_t size = 0;             // entries and questions
  // Whose share the entries count to: the namespace of the policies; empty if
  // cluster-wide policies alone apply.
  std::string ns;
  // Not empty: it would need more entries than a set may have, and says so. It
  // has none then, and isolates wherever its policies say anything.
  std::string problem;

  [[nodiscard]] bool isolates(Direction direction) const {
    const auto& side = directions[static_cast<std::size_t>(direction)];
    return side.isolated || (!problem.empty() && !side.rules.empty());
  }

  // Classes other than "any" that have entries, and selectors of names that
  // have some or are in a list.
  template <typename Visit>
  void visit_classes(const Visit& visit) const {
    for (const auto& [cidr_id, entries] : directions[0].entries) {
      if (cidr_id != SLUICE_CIDR_ANY) {
        visit(cidr_id);
      }
    }
    for (const auto& [cidr_id, entries] : directions[1].entries) {
      if (cidr_id != SLUICE_CIDR_ANY &&
          !directions[0].entries.contains(cidr_id)) {
        visit(cidr_id);
      }
    }
    std::uint32_t last = SLUICE_CIDR_ANY;
    for (const auto& question : questions) {
      if (question.name != last &&
          !directions[1].entries.contains(question.name)) {
        visit(question.name);
      }
      last = question.name;
    }
  }
  [[nodiscard]] bool has_entries(std::uint32_t cidr_id) const {
    return directions[0].entries.contains(cidr_id) ||
           directions[1].entries.contains(cidr_id) || asks_for(cidr_id);
  }
  [[nodiscard]] bool asks_for(std::uint32_t name) const {
    return std::ranges::binary_search(questions, name, {}, &Question::name);
  }
};

// Most entries of the policy map; 0: as many as are needed.
struct EntryLimits {
  std::size_t of_set = 0;
  std::size_t of_namespace = 0;  // all sets with policies of the namespace
};

// Adds the ranges that the named ports of `l4` stand for among `ports`.
void resolve_names(Candidate& candidate, const L4& l4,
                   const std::vector<ResolvedPort>& ports);

class PolicySets {
 public:
  struct Changes {
    std::set<std::uint32_t> created;
    std::set<std::uint32_t> retired;  // readable until clear_changes()
    std::set<std::uint32_t> rebuilt;  // rules or isolation may have changed
    // Of sets that existed before and still do, by set.
    struct OfSet {
      std::vector<Transaction::EntryChange> entries;
      // Classes that got their first (true) or lost their last entry.
      std::vector<std::pair<std::uint32_t, bool>> classes;
    };
    std::map<std::uint32_t, OfSet> sets;
    // Pods whose set may have to change.
    std::unordered_set<PodRecord*> pods;
    // Pods whose set update() changed.
    std::unordered_set<PodRecord*> moved;
  };

  PolicySets(SelectorCache& selectors, PeerClasses& classes,
             const Services& services, const EntryLimits& limits)
      : selectors_(selectors),
        classes_(classes),
        services_(services),
        frontends_(classes, services),
        limits_(limits) {}

  void set_policy(const Policy& policy);
  // Takes effect with apply_removals(), so that a policy that is removed and
  // comes back at once keeps its records and ids.
  void remove_policy(const PolicyKey& key);
  void apply_removals();
  // Rules that name Services mean what these say now.
  void refresh_services();

  // Gives the pod (its record's policy_set) the set of all policies that
  // select it. Call after its matched selectors or ports changed.
  void assign(PodRecord& pod);
  // The pod is no subject any more.
  void unassign(PodRecord& pod);

  // Rebuilds sets whose policies changed, gives pods that reach themselves
  // through Services sets of their own where that makes a difference, and
  // compiles entries for new classes and for Services that changed. Call after
  // the classes and the Services are up to date.
  void update();
  [[nodiscard]] const Changes& changes() const { return changes_; }
  void clear_changes();

  // See Translator::visit_subjects().
  void visit_subjects(const PolicyKey& key,
                      const std::function<void(const kube::Pod&)>& visit) const;
  // A set that the policy contributes to, that has pods and that is over its
  // bound; nullptr if there is none.
  [[nodiscard]] const SetRecord* oversized_set(const PolicyKey& key) const;
  // See Translator::shortfall().
  [[nodiscard]] std::string shortfall(const PolicyKey& key) const;
  // See Translator::warnings().
  [[nodiscard]] std::vector<std::string> warnings(const PolicyKey& key) const;
  // nullptr if there is no such set.
  [[nodiscard]] const SetRecord* find(std::uint32_t id) const;
  [[nodiscard]] static std::vector<PolicyEntry> entries(const SetRecord& set);
  [[nodiscard]] static PolicySetInfo info(const SetRecord& set);
  [[nodiscard]] static RuleInfo rule_info(const SpecRecord& spec,
                                          const RuleRecord& rule);

  // The rules of the set that apply to a class, in order, with named ports
  // resolved for it.
  [[nodiscard]] static std::vector<Candidate> candidates(
      const SetDirection& direction, const ClassKey& peer);

  [[nodiscard]] const NameSelectors& names() const { return names_; }

  [[nodiscard]] const Frontends& frontends() const { return frontends_; }
  // What the set says of one port behind which these stand: allowed only if
  // all of them are; `own` is the subject itself, for all ports. nullopt:
  // nothing that the address itself would not say.
  [[nodiscard]] std::optional<Decided> decide_port(
      const SetDirection& direction, std::uint32_t front,
      const FrontendPort& port, std::span<const OwnPort> own) const;

 private:
  struct RuleId {
    std::string owner;  // policy and path
    std::uint32_t refs = 0;
  };

  std::vector<RuleRecord> acquire_rules(const PolicyKey& key, const Spec& spec);
  void acquire_peers(const Rule& rule, RuleRecord& record);
  void release_rules(const std::vector<RuleRecord>& rules);
  [[nodiscard]] std::vector<PeerSelector> behind(const Rule& rule) const;
  void replace_rules(const PolicyKey& key, SpecRecord& spec);
  std::unique_ptr<SpecRecord> take_dying(const Policy& policy,
                                         std::size_t index);
  void add_spec(PolicyRecord& record, std::size_t index);
  void remove_spec(SpecRecord& spec);
  void note_change(const SpecRecord& spec);
  std::uint32_t acquire_rule_id(const PolicyKey& key, const std::string& path);
  [[nodiscard]] SetKey key_for(const PodRecord& pod) const;
  [[nodiscard]] std::uint32_t new_set_id(const SetKey& key) const;
  void leave_set(PodRecord& pod);
  void discard(std::uint32_t set_id);
  void build_dirty(std::set<std::uint32_t>& built);
  static void build(SetRecord& set);
  static void place_rules(SetRecord& set, Direction direction);
  static void index_rules(SetDirection& side);
  static void number_lists(SetDirection& side);
  static void count_lists(SetRecord& set, const std::vector<L4Entry>& before,
                          const std::vector<L4Entry>& after);
  static std::vector<Question> questions_of(
      const SetDirection& egress, const std::set<std::uint8_t>& lists);
  void update_questions(SetRecord& set);
  void note_class(SetRecord& set, std::uint32_t cidr_id, bool had);
  void index(const SetRecord& set, bool add);
  // Entries of one class and direction, compiled and not in the set yet.
  struct Compiled {
    Direction direction = Direction::kIngress;
    std::uint32_t cidr_id = 0;
    std::vector<L4Entry> entries;
  };
  // Classes by direction.
  using Touched = std::array<std::set<std::uint32_t>, 2>;
  [[nodiscard]] Touched touched_by(const SetRecord& set) const;
  [[nodiscard]] std::optional<std::vector<Compiled>> compile_within_bound(
      const SetRecord& set, const Touched& classes, std::size_t& done) const;
  [[nodiscard]] std::size_t entries_beside(const SetRecord& set) const;
  [[nodiscard]] std::size_t most_entries(const SetRecord& set) const;
  void count_entries(const SetRecord& set, std::size_t before,
                     std::size_t after);
  void compile_all(SetRecord& set);
  void compile_one(SetRecord& set, std::uint32_t cidr_id, const ClassKey& peer);
  void put_over(SetRecord& set, std::size_t done, std::size_t classes);
  void isolate_without_entries(SetRecord& set, std::string problem,
                               std::size_t classes);
  void retry_oversized();
  void retry_over_share();
  void warn_of_peers(const RuleRecord& rule,
                     std::vector<std::string>& warnings) const;
  void warn_of_ports(const SpecRecord& spec, const RuleRecord& rule,
                     std::vector<std::string>& warnings) const;
  void add_sets_touched_by(const ClassKey& peer,
                           std::set<std::uint32_t>& ids) const;
  [[nodiscard]] std::set<std::uint32_t> sets_touched_by(
      std::uint32_t cidr_id) const;
  [[nodiscard]] static std::vector<L4Entry> compile_name(
      const SetDirection& direction, std::uint32_t name);
  [[nodiscard]] std::vector<L4Entry> compile(const SetRecord& set,
                                             Direction which,
                                             std::uint32_t cidr_id,
                                             const ClassKey& peer) const;
  [[nodiscard]] std::set<std::uint32_t> classes_touching(const SetRecord& set,
                                                         Direction which) const;

  [[nodiscard]] bool counts_as_own(const SetDirection& egress,
                                   const OwnPort& own,
                                   const std::set<OwnPort>& all) const;
  [[nodiscard]] std::vector<OwnPort> own_ports(const PodRecord& pod) const;
  void split_sets();
  void compile_class(std::uint32_t cidr_id);
  void drop_class(std::uint32_t cidr_id);
  void note_entries(const SetRecord& set, Direction direction,
                    std::uint32_t cidr_id, const std::vector<L4Entry>& before,
                    const std::vector<L4Entry>& after);
  void replace_entries(SetRecord& set, Direction direction,
                       std::uint32_t cidr_id, std::vector<L4Entry> entries);

  SelectorCache& selectors_;
  PeerClasses& classes_;
  const Services& services_;
  Frontends frontends_;
  EntryLimits limits_;
  NameSelectors names_;
  std::map<PolicyKey, std::unique_ptr<PolicyRecord>> policies_;
  std::map<SelectorId, std::set<SpecRecord*>> by_subject_;
  std::map<std::uint32_t, RuleId> rule_ids_;
  std::map<SetKey, std::uint32_t> set_ids_;
  std::map<std::uint32_t, std::unique_ptr<SetRecord>> sets_;
  std::unordered_map<SelectorId, std::set<std::uint32_t>> sets_by_selector_;
  std::unordered_map<std::uint32_t, std::set<std::uint32_t>> sets_by_class_;
  std::unordered_map<PodRecord*, std::vector<OwnPort>> own_;  // not empty
  // Pods of which it must be asked whether they need a set of their own.
  std::unordered_set<PodRecord*> to_split_;
  std::set<std::uint32_t> sets_with_any_egress_;  // any-peer egress rules
  std::set<PolicyKey> with_services_;             // policies that name some
  std::set<std::uint32_t> sets_with_named_any_;   // any-peer egress named ports
  std::set<std::uint32_t> dirty_;
  std::set<std::uint32_t> emptied_;  // retired ones without rules
  // Sets with a problem, with how many classes they had to say something of.
  std::map<std::uint32_t, std::size_t> oversized_;
  // Those among them that the namespace's share has no room for, with what the
  // namespace's other sets had when it was tried.
  std::map<std::uint32_t, std::size_t> over_share_;
  std::map<std::string, std::size_t> entries_of_;  // by namespace
  std::set<PolicyKey> removed_;
  // Specs that are gone but may stand in sets until these are retired.
  std::vector<std::unique_ptr<SpecRecord>> dying_;
  std::vector<std::unique_ptr<PolicyRecord>> dying_policies_;
  Changes changes_;
};

}  // namespace sluice::policy
