// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lib/policy/translator.h"
#include "lib/ui/sources.h"
#include "lib/ui/subjects.h"
#include "operator/cluster_store.h"

namespace sluice::operatord {

// What this replica knows of a policy.
struct PolicyFact {
  op::ObjectKey key;
  bool valid = false;
  bool in_force = false;
  std::int64_t generation = 0;
  std::int64_t in_force_generation = 0;
  std::string reason;
  std::string isolation;
  // Only with details.
  std::string shortfall;
  std::set<std::string> nodes;  // with a pod that it selects
  std::vector<std::string> warnings;
  // After find_subjects(): what it selects, and where it is in force.
  ui::PolicyView subjects;
};

// Why nodes do not enforce their policies; empty: they do.
using NodeShortfalls = std::map<std::string, std::string>;

// An object that cannot be used.
struct ObjectProblem {
  std::string object;
  std::string source;
  std::string message;
};

struct PolicyFacts {
  std::vector<PolicyFact> policies;  // those that are no groups
  std::vector<ObjectProblem> problems;
};

// Collects the facts in pieces, in the loop's thread. Policies may come and go
// in between: of each, the facts are those of the moment when it was looked at.
class PolicyFactCollector {
 public:
  using Warnings =
      std::function<std::vector<std::string>(const policy::PolicyKey& policy)>;

  // Of one step, policies and the pods that they select: a few milliseconds.
  static constexpr std::size_t kWorkMax = 4'096;

  // What `warnings` calls, and both arguments, must outlive this object.
  // Without warnings, no details are collected.
  PolicyFactCollector(const op::ClusterStore& store,
                      const policy::Translator& translator, Warnings warnings,
                      std::size_t work_max = kWorkMax);
  PolicyFactCollector(const PolicyFactCollector&) = delete;
  PolicyFactCollector& operator=(const PolicyFactCollector&) = delete;
  PolicyFactCollector(PolicyFactCollector&&) = delete;
  PolicyFactCollector& operator=(PolicyFactCollector&&) = delete;
  ~PolicyFactCollector() = default;

  // From now on, also finds what policies select, with the nodes' shortfalls.
  void find_subjects(NodeShortfalls short_of);

  // Looks at some policies, one at least. False: there is none after them.
  bool step();
  // After the last step.
  [[nodiscard]] PolicyFacts take() && { return std::move(facts_); }

 private:
  void look_at(const op::PolicyObject& object);
  std::size_t add_details(PolicyFact& fact);

  const op::ClusterStore& store_;
  const policy::Translator& translator_;
  Warnings warnings_;
  std::size_t work_max_;
  NodeShortfalls short_of_;
  std::optional<ui::SubjectFinder> finder_;
  std::string shortfall_;  // of the policy in question
  std::optional<op::ObjectKey> last_;
  std::size_t work_ = 0;  // in this step
  PolicyFacts facts_;
};

}  // namespace sluice::operatord
