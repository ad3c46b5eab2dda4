// SPDX-License-Identifier: Apache-2.0
#include "operator/program/policy_status.h"

#include <iterator>
#include <optional>
#include <utility>

#include <spdlog/spdlog.h>

#include "lib/base/sequence.h"
#include "operator/kept_version.h"

namespace sluice::operatord {
namespace {

using op::Clock;
using op::Enforced;
using op::ObjectKey;
using op::PolicyObject;

// If a new version reaches the nodes within this time, its status is not set to
// Pending first: one write instead of two.
constexpr std::chrono::milliseconds kSilence{200};
// Pods come and go without an event of the policy: everything is evaluated
// again after this time.
constexpr std::chrono::milliseconds kSweep{2'000};
// What its pods and peers show of a policy is said when there has been time to
// make these.
constexpr std::chrono::seconds kWarn{30};

bool is_group(const PolicyObject& object) {
  return op::is_group(object.key);
}

// networking.k8s.io/v1 has no status for policies.
bool has_status(const PolicyObject& object) {
  return object.key.kind != "NetworkPolicy";
}

std::string what_stays(const PolicyObject& object) {
  if (!object.isolation.empty()) {
    return "nothing of it is in force, but " + object.isolation;
  }
  return object.in_force
             ? "generation " + std::to_string(object.in_force_generation) +
                   " stays in force"
             : "nothing of it is in force";
}

std::vector<Condition> conditions(const PolicyObject& object,
                                  const Enforced& enforced,
                                  std::uint64_t revision,
                                  const std::string& warnings) {
  std::vector<Condition> wanted{{.type = "Valid",
                                 .status = true,
                                 .reason = "Valid",
                                 .message = warnings}};
  if (!is_group(object)) {
    auto message = enforced.message;
    if (enforced.enforced) {
      message += ", revision " + std::to_string(revision);
    }
    wanted.push_back({.type = "Enforced",
                      .status = enforced.enforced,
                      .reason = enforced.reason,
                      .message = std::move(message)});
  }
  return wanted;
}

}  // namespace

PolicyStatus::PolicyStatus(const op::ClusterStore& store,
                           const policy::Translator& translator,
                           const op::NodeProgress& progress,
                           StatusWriter& writer, KeptVersions& kept)
    : store_(store),
      translator_(translator),
      progress_(progress),
      writer_(writer),
      kept_(kept) {}

void PolicyStatus::set_leading(bool leads) {
  leads_ = leads;
  if (!leads) {
    writer_.stop();
    kept_.stop();
    // Other replicas' reports are kept: they send only changes, also to a
    // replica that leads again.
    enforcement_.forget({});
    enforcement_.forget_policies();
    active_.clear();
    told_.clear();
    return;
  }
  for (const auto& [key, object] : store_.policies()) {
    active_.insert(key);
  }
}

void PolicyStatus::objects_changed(const std::vector<ObjectKey>& keys) {
  for (const auto& key : keys) {
    const auto* object = store_.policy(key);
    if (object == nullptr) {
      enforcement_.forget_policy(key);
      told_.erase(key);
      active_.erase(key);
      writer_.forget(key);
      kept_.forget(key);
    } else if (leads_) {
      writer_.seen(*object);
      active_.insert(key);
    }
  }
}

void PolicyStatus::nodes_changed(const std::vector<std::string>& nodes) {
  for (const auto& node : nodes) {
    enforcement_.set({}, progress_.report(node));
  }
}

void PolicyStatus::report(const std::string& replica, bool first,
                          const std::vector<wire::NodeReport>& nodes) {
  if (first) {
    enforcement_.forget(replica);
  }
  for (const auto& node : nodes) {
    enforcement_.set(replica, node);
  }
}

void PolicyStatus::forget_replica(const std::string& replica) {
  enforcement_.forget(replica);
}

Enforced PolicyStatus::enforced(const PolicyObject& object,
                                Clock::time_point now) {
  std::optional<Enforced> shown;
  if (const auto condition = shown_condition(object, "Enforced")) {
    shown = Enforced{.enforced = condition->status,
                     .reason = condition->reason,
                     .message = condition->message};
  }
  const policy::PolicyKey key{
      .kind = object.key.kind, .ns = object.key.ns, .name = object.key.name};
  if (auto why = translator_.shortfall(key); !why.empty()) {
    return {.enforced = false, .reason = "TooLarge", .message = std::move(why)};
  }
  const auto subjects = [&](const auto& visit) {
    translator_.visit_subjects(key, visit);
  };
  return enforcement_.judge(object, subjects, shown, now);
}

// True if its status is final until something changes.
bool PolicyStatus::judge(const PolicyObject& object, std::uint64_t revision,
                         Clock::time_point now) {
  auto& told = told_[object.key];
  if (told.uid != object.uid || told.generation != object.generation) {
    told = {.uid = object.uid, .generation = object.generation, .since = now};
  }
  keep(object, told);
  if (!object.valid) {
    told.enforced = false;
    tell_invalid(object, told);
    return true;
  }
  const auto result =
      is_group(object) ? Enforced{.enforced = true} : enforced(object, now);
  told.enforced = result.enforced;
  // Where a condition cannot say which generation it is about, what it says of
  // the one before is taken back at once.
  if (result.reason == "Pending" && now - told.since < kSilence &&
      !writer_.is_lossy(object.key.kind)) {
    return false;
  }
  tell_valid(object, result, revision, told, now);
  return result.enforced;
}

// Also where nothing is to be kept any more.
void PolicyStatus::keep(const PolicyObject& object, Told& told) {
  const bool elsewhere =
      !object.valid && (!has_status(object) || is_group(object) ||
                        writer_.is_lossy(object.key.kind));
  auto kept = elsewhere ? op::to_keep_elsewhere(object) : std::string{};
  const bool too_large = elsewhere && object.in_force && kept.empty();
  if (kept_.want(object, std::move(kept)) && !too_large) {
    return;
  }
  if (!std::exchange(told.unkept, true)) {
    writer_.event(object, true, "NotKept",
                  what_stays(object) +
                      ", but is too large to be kept for an operator that "
                      "starts anew");
  }
}

void PolicyStatus::tell_invalid(const PolicyObject& object, Told& told) {
  const auto stays = what_stays(object);
  const auto message = object.reason + "; " + stays;
  const auto shown = shown_condition(object, "Valid");
  const bool known = shown && !shown->status && shown->message == message;
  if (!known && told.invalid != message) {
    writer_.event(object, true, "Invalid", message);
  }
  told.invalid = message;
  if (!has_status(object)) {
    return;
  }
  std::vector<Condition> wanted{{.type = "Valid",
                                 .status = false,
                                 .reason = "Invalid",
                                 .message = message}};
  if (!is_group(object)) {
    wanted.push_back({.type = "Enforced",
                      .status = false,
                      .reason = "Invalid",
                      .message = stays});
  }
  writer_.want(object, std::move(wanted));
}

std::vector<std::string> PolicyStatus::warnings_of(const PolicyObject& object,
                                                   bool all) const {
  auto warnings = object.warnings;
  if (all && !is_group(object)) {
    const auto more = translator_.warnings({.kind = object.key.kind,
                                            .ns = object.key.ns,
                                            .name = object.key.name});
    warnings.insert(warnings.end(), more.begin(), more.end());
  }
  return warnings;
}

std::vector<std::string> PolicyStatus::warnings(
    const policy::PolicyKey& key) const {
  const auto* object =
      store_.policy({.kind = key.kind, .ns = key.ns, .name = key.name});
  return object == nullptr ? std::vector<std::string>{}
                           : warnings_of(*object, true);
}

void PolicyStatus::tell_valid(const PolicyObject& object,
                              const Enforced& enforced, std::uint64_t revision,
                              Told& told, Clock::time_point now) {
  const auto warnings =
      joined(warnings_of(object, now - told.since >= kWarn), "; ");
  const auto valid = shown_condition(object, "Valid");
  const bool known = valid && valid->message == warnings;
  if (!warnings.empty() && told.warned != warnings && !known) {
    writer_.event(object, true, "Questionable", warnings);
  }
  told.warned = warnings;
  if (enforced.reason != "ApplyFailed" && enforced.reason != "TooLarge") {
    told.failure.clear();
  } else if (told.failure != enforced.message) {
    const auto shown = shown_condition(object, "Enforced");
    if (!shown || shown->message != enforced.message) {
      writer_.event(object, true, "NotEnforced", enforced.message);
    }
    spdlog::warn("{}: {}", to_string(object.key), enforced.message);
    told.failure = enforced.message;
  }
  if (has_status(object)) {
    writer_.want(object, conditions(object, enforced, revision, warnings));
  }
}

// Evaluates a part of all policies per call, so that no turn takes long.
void PolicyStatus::sweep() {
  const auto& policies = store_.policies();
  const auto turns = static_cast<std::size_t>(kSweep / kTurn);
  auto left = policies.empty() ? 0 : ((policies.size() - 1) / turns) + 1;
  for (auto at = policies.upper_bound(swept_); left > 0; --left, ++at) {
    if (at == policies.end()) {
      at = policies.begin();
    }
    active_.insert(at->first);
    swept_ = at->first;
  }
}

void PolicyStatus::turn(std::uint64_t revision, Clock::time_point now) {
  if (!leads_ || now - turned_ < kTurn) {
    return;
  }
  turned_ = now;
  sweep();
  for (auto at = active_.begin(); at != active_.end();) {
    const auto* object = store_.policy(*at);
    const bool settled = object == nullptr || judge(*object, revision, now);
    at = settled ? active_.erase(at) : std::next(at);
  }
  kept_.settle();
}

std::map<std::string, PolicyStatus::Counts> PolicyStatus::counts() const {
  std::map<std::string, Counts> result;
  for (const auto& [key, object] : store_.policies()) {
    auto& counts = result[key.kind];
    ++(object.valid ? counts.valid : counts.invalid);
    const auto told = told_.find(key);
    counts.enforced += told != told_.end() && told->second.enforced ? 1 : 0;
  }
  return result;
}

}  // namespace sluice::operatord
