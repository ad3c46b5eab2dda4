// SPDX-License-Identifier: Apache-2.0
#include "operator/program/policy_facts.h"

#include <utility>

namespace sluice::operatord {

PolicyFactCollector::PolicyFactCollector(const op::ClusterStore& store,
                                         const policy::Translator& translator,
                                         Warnings warnings,
                                         std::size_t work_max)
    : store_(store),
      translator_(translator),
      warnings_(std::move(warnings)),
      work_max_(work_max) {}

void PolicyFactCollector::find_subjects(NodeShortfalls short_of) {
  short_of_ = std::move(short_of);
  finder_.emplace(translator_, [this](const std::string& node) {
    const auto found = short_of_.find(node);
    if (found == short_of_.end()) {
      return std::optional<std::string>("there is no such node");
    }
    return std::optional(found->second.empty() ? shortfall_ : found->second);
  });
}

bool PolicyFactCollector::step() {
  work_ = 0;
  const auto& policies = store_.policies();
  auto at = last_ ? policies.upper_bound(*last_) : policies.begin();
  for (; at != policies.end() && work_ < work_max_; ++at) {
    look_at(at->second);
    last_ = at->first;
  }
  if (at != policies.end()) {
    return true;
  }
  for (const auto& [key, why] : store_.undecodable()) {
    facts_.problems.push_back(
        {.object = to_string(key), .source = "API server", .message = why});
  }
  return false;
}

void PolicyFactCollector::look_at(const op::PolicyObject& object) {
  ++work_;
  if (!object.valid) {
    facts_.problems.push_back(
        {.object = to_string(object.key),
         .source = "generation " + std::to_string(object.generation),
         .message = object.reason});
  }
  if (op::is_group(object.key)) {
    return;
  }
  PolicyFact fact{.key = object.key,
                  .valid = object.valid,
                  .in_force = object.in_force,
                  .generation = object.generation,
                  .in_force_generation = object.in_force_generation,
                  .reason = object.reason,
                  .isolation = object.isolation,
                  .shortfall = {},
                  .nodes = {},
                  .warnings = {},
                  .subjects = {.kind = object.key.kind,
                               .ns = object.key.ns,
                               .name = object.key.name}};
  if (warnings_) {
    work_ += add_details(fact);
  }
  facts_.policies.push_back(std::move(fact));
}

// How many pods it has looked at.
std::size_t PolicyFactCollector::add_details(PolicyFact& fact) {
  const policy::PolicyKey name{
      .kind = fact.key.kind, .ns = fact.key.ns, .name = fact.key.name};
  std::size_t pods = 0;
  translator_.visit_subjects(name, [&](const kube::Pod& pod) {
    ++pods;
    fact.nodes.insert(pod.node);
  });
  fact.shortfall = translator_.shortfall(name);
  fact.warnings = warnings_(name);
  if (finder_) {
    shortfall_ = fact.shortfall;
    finder_->find(fact.subjects);
    pods *= 2;
  }
  return pods;
}

}  // namespace sluice::operatord
