// SPDX-License-Identifier: Apache-2.0
#include "operator/enforcement.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sluice::op {
namespace {

// Number of nodes and reasons that a message names; it gives only the number of
// the others.
constexpr std::size_t kNamed = 3;
constexpr const char* kPending = "Pending";
constexpr const char* kUnreachable = "AgentUnreachable";
constexpr const char* kFailed = "ApplyFailed";

// True for a reason that is not a failure, only work in progress.
bool is_passing(const std::string& reason) {
  return reason == kPending || reason == kUnreachable;
}

std::string nodes_text(std::size_t done, std::size_t all) {
  return std::to_string(done) + "/" + std::to_string(all) +
         (all == 1 ? " node" : " nodes");
}

}  // namespace

// ---- NodeProgress -----------------------------------------------------------

void NodeProgress::advance(const TakenIn& taken_in) {
  if (taken_in_ == taken_in) {
    return;
  }
  taken_in_ = taken_in;
  for (const auto& [name, node] : nodes_) {
    changed_.insert(name);
  }
}

void NodeProgress::connected(const std::string& node, bool resumed) {
  auto& record = nodes_[node];
  record.connected = true;
  if (!resumed) {
    // Until the node has applied its snapshot, its state is unknown.
    record.pending = {{.revision = 0, .before = {}}};
    record.failures.clear();
  }
  changed_.insert(node);
}

void NodeProgress::disconnected(const std::string& node) {
  nodes_[node].connected = false;
  changed_.insert(node);
}

void NodeProgress::forget(const std::string& node) {
  nodes_.erase(node);
  changed_.insert(node);
}

void NodeProgress::snapshot(const std::string& node, std::uint64_t revision) {
  auto& record = nodes_[node];
  record.pending = {{.revision = revision, .before = {}}};
  record.failures.clear();
  changed_.insert(node);
}

void NodeProgress::sent(const std::string& node, std::uint64_t revision) {
  auto& record = nodes_[node];
  if (!record.pending.empty() && record.pending.front().revision == 0) {
    return;  // not sent: a snapshot comes first
  }
  // Two transactions with the same versions before them, or more than the list
  // can hold, are merged: their versions are in force when the second one is
  // applied.
  if (!record.pending.empty() && (record.pending.back().before == taken_in_ ||
                                  record.pending.size() == kPendingMax)) {
    record.pending.back().revision = revision;
  } else {
    record.pending.push_back({.revision = revision, .before = taken_in_});
  }
  changed_.insert(node);
}

void NodeProgress::acknowledged(const std::string& node, const wire::Ack& ack) {
  const auto found = nodes_.find(node);
  if (found == nodes_.end()) {
    return;
  }
  auto& pending = found->second.pending;
  while (!pending.empty() && pending.front().revision != 0 &&
         pending.front().revision <= ack.applied) {
    pending.pop_front();
  }
  found->second.failures = ack.failures;
  changed_.insert(node);
}

wire::NodeReport NodeProgress::report(const std::string& node) const {
  wire::NodeReport report{
      .node = node, .connected = false, .in_force = {}, .failures = {}};
  const auto found = nodes_.find(node);
  if (found == nodes_.end()) {
    return report;
  }
  const auto& [connected, pending, failures] = found->second;
  const auto& now = pending.empty() ? taken_in_ : pending.front().before;
  report.connected = connected;
  report.in_force.assign(now.versions.begin(), now.versions.end());
  report.held = now.held;
  report.failures = failures;
  return report;
}

std::vector<std::string> NodeProgress::nodes() const {
  std::vector<std::string> result;
  result.reserve(nodes_.size());
  for (const auto& [name, node] : nodes_) {
    result.push_back(name);
  }
  return result;
}

std::vector<std::string> NodeProgress::take_changed() {
  const auto changed = std::exchange(changed_, {});
  return {changed.begin(), changed.end()};
}

std::size_t NodeProgress::behind() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      nodes_, [](const auto& item) { return !item.second.pending.empty(); }));
}

// ---- Enforcement ------------------------------------------------------------

void Enforcement::set(const std::string& replica,
                      const wire::NodeReport& report) {
  if (!report.connected && report.in_force.empty()) {
    forget_node(replica, report.node);
  } else {
    nodes_[report.node].by_replica[replica] = report;
  }
}

void Enforcement::forget_node(const std::string& replica,
                              const std::string& name) {
  const auto found = nodes_.find(name);
  if (found == nodes_.end()) {
    return;
  }
  found->second.by_replica.erase(replica);
  if (found->second.by_replica.empty()) {
    nodes_.erase(found);
  }
}

void Enforcement::forget(const std::string& replica) {
  for (auto at = nodes_.begin(); at != nodes_.end();) {
    at->second.by_replica.erase(replica);
    at = at->second.by_replica.empty() ? nodes_.erase(at) : std::next(at);
  }
}

const wire::NodeReport* Enforcement::best(const Node& node) {
  const wire::NodeReport* found = nullptr;
  for (const auto& [replica, report] : node.by_replica) {
    if (found == nullptr || (report.connected && !found->connected)) {
      found = &report;
    }
  }
  return found;
}

void Enforcement::forget_policy(const ObjectKey& key) {
  histories_.erase(key);
}

void Enforcement::forget_policies() {
  histories_.clear();
}

const wire::NodeReport* Enforcement::report_of(std::string_view node) const {
  const auto found = nodes_.find(std::string(node));
  return found == nodes_.end() ? nullptr : best(found->second);
}

// Returns why the policy is not in force on the node; the reason is empty if it
// is.
Enforcement::Shortfall Enforcement::shortfall(std::string_view name,
                                              const wire::NodeReport* report,
                                              const PolicyObject& policy) {
  Shortfall result{.node = std::string(name), .reason = {}, .detail = {}};
  if (report == nullptr || !report->connected) {
    result.reason = kUnreachable;
    result.detail = "no agent is connected";
    return result;
  }
  const auto kind = policy_kind_index(policy.key.kind);
  const bool held =
      std::ranges::any_of(report->held, [&](const wire::HeldVersion& one) {
        return one.ns == policy.key.ns && one.kind == kind &&
               one.version <= policy.resource_version;
      });
  if (policy.resource_version != 0 && kind < report->in_force.size() &&
      report->in_force[kind] >= policy.resource_version && !held) {
    return result;
  }
  result.reason = kPending;
  for (const auto& failure : report->failures) {
    if (failure.endpoint.empty()) {
      result.reason = kFailed;
      result.detail = failure.message;
      break;
    }
  }
  return result;
}

// Collects the shortfalls of all nodes with pods that the policy selects;
// `nodes` is their number. It is rare that a node has everything and still
// cannot enforce a pod, so such pods are searched only on nodes that report
// failures.
std::vector<Enforcement::Shortfall> Enforcement::shortfalls_of(
    const PolicyObject& policy, const Subjects& subjects,
    std::size_t& nodes) const {
  std::unordered_map<std::string_view, const wire::NodeReport*> reports;
  subjects([&](const kube::Pod& pod) { reports.try_emplace(pod.node); });
  nodes = reports.size();
  std::vector<Shortfall> result;
  std::unordered_map<std::string, const wire::Failure*> failing;  // by pod
  for (auto& [name, report] : reports) {
    report = report_of(name);
    if (auto found = shortfall(name, report, policy); !found.reason.empty()) {
      result.push_back(std::move(found));
      report = nullptr;
      continue;
    }
    for (const auto& failure : report->failures) {
      if (!failure.endpoint.empty()) {
        failing.emplace(failure.endpoint, &failure);
      }
    }
  }
  if (!failing.empty()) {
    subjects([&](const kube::Pod& pod) {
      auto& report = reports[pod.node];
      const auto found = failing.find(pod.ns + "/" + pod.name);
      if (report != nullptr && found != failing.end()) {
        result.push_back(
            {.node = pod.node,
             .reason = kFailed,
             .detail = found->first + ": " + found->second->message});
        report = nullptr;  // one per node is enough
      }
    });
  }
  std::ranges::sort(result, {}, &Shortfall::node);
  return result;
}

// Combines the nodes' shortfalls into one text and one reason.
Enforced Enforcement::describe(const std::vector<Shortfall>& shortfalls,
                               std::size_t nodes) {
  Enforced result;
  if (shortfalls.empty()) {
    result.enforced = true;
    result.reason = "Enforced";
    result.message =
        nodes == 0 ? "no pods are selected" : nodes_text(nodes, nodes);
    return result;
  }
  // Reasons that need a person's action come first.
  for (const char* reason : {kFailed, kUnreachable, kPending}) {
    if (std::ranges::any_of(shortfalls, [&](const Shortfall& shortfall) {
          return shortfall.reason == reason;
        })) {
      result.reason = reason;
      break;
    }
  }
  result.message = nodes_text(nodes - shortfalls.size(), nodes);
  std::size_t named = 0;
  for (const auto& shortfall : shortfalls) {
    if (shortfall.reason != result.reason || named == kNamed) {
      continue;
    }
    ++named;
    result.message +=
        "; " + shortfall.node + ": " +
        (shortfall.detail.empty() ? "on its way" : shortfall.detail);
  }
  if (named < shortfalls.size()) {
    result.message +=
        "; and " + std::to_string(shortfalls.size() - named) + " more";
  }
  return result;
}

Enforced Enforcement::judge(const PolicyObject& policy,
                            const Subjects& subjects,
                            const std::optional<Enforced>& shown,
                            Clock::time_point now) {
  std::size_t nodes = 0;
  const auto missing = shortfalls_of(policy, subjects, nodes);
  auto result = describe(missing, nodes);
  auto& history = histories_[policy.key];
  if (history.uid != policy.uid || history.generation != policy.generation) {
    history = {.uid = policy.uid,
               .generation = policy.generation,
               .enforced = shown && shown->enforced,
               .broken_since = Clock::time_point::max(),
               .last = shown.value_or(Enforced{})};
  }
  if (result.enforced) {
    history.enforced = true;
    history.broken_since = Clock::time_point::max();
  } else {
    history.broken_since = std::min(history.broken_since, now);
    if (history.enforced && is_passing(result.reason) &&
        now - history.broken_since < kPatience) {
      return history.last;
    }
  }
  history.last = result;
  return result;
}

}  // namespace sluice::op
