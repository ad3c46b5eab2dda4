// SPDX-License-Identifier: Apache-2.0
#include "operator/program/status_writer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <nlohmann/json.hpp>
#include <spdlog/spdlog.h>

#include "lib/kube/api/backoff.h"
#include "lib/kube/api/json_fields.h"
#include "lib/kube/api/resource.h"
#include "operator/kept_version.h"

namespace sluice::operatord {
namespace {

using kube::ApiResult;
using nlohmann::json;
using op::ObjectKey;
using op::PolicyObject;

constexpr std::size_t kInFlight = 8;
constexpr std::size_t kEventsWaiting = 1'000;
constexpr std::chrono::milliseconds kRetryFirst{500};
constexpr std::chrono::milliseconds kRetryMost{30'000};
constexpr int kNotFound = 404;
constexpr int kConflict = 409;

// RFC 3339 in whole seconds, as meta/v1 Time is.
std::string now_text() {
  auto text = kube::micro_time(std::chrono::system_clock::now());
  const auto dot = text.find('.');
  return dot == std::string::npos ? text : text.substr(0, dot) + "Z";
}

const json* find_type(const json& conditions, const std::string& type) {
  for (const auto& condition : conditions) {
    if (condition.is_object() && kube::text_of(condition, "type") == type) {
      return &condition;
    }
  }
  return nullptr;
}

const char* status_text(bool status) {
  return status ? "True" : "False";
}

// "2/2 nodes, revision 7" says the same as "2/2 nodes, revision 9".
std::string without_revision(const std::string& message) {
  return message.substr(0, message.find(", revision "));
}

// For conditions that have no room for the generation.
std::string generation_text(std::int64_t generation) {
  return "generation " + std::to_string(generation);
}

// The message as it is written.
std::string message_of(const Condition& condition, std::int64_t generation,
                       bool lossy) {
  if (!lossy) {
    return condition.message;
  }
  return generation_text(generation) +
         (condition.message.empty() ? "" : ": " + condition.message);
}

// If the definition has no observedGeneration, `generation` is not compared:
// the message contains it.
bool says(const json* shown, const Condition& wanted,
          std::optional<std::int64_t> generation) {
  return shown != nullptr &&
         kube::text_of(*shown, "status") == status_text(wanted.status) &&
         kube::text_of(*shown, "reason") == wanted.reason &&
         without_revision(kube::text_of(*shown, "message")) ==
             without_revision(wanted.message) &&
         (!generation ||
          shown->value("observedGeneration", json()) == json(*generation));
}

// True if the API server has dropped a part of the status `written` because the
// kind's definition lacks it. `stored` is the resulting object.
bool dropped(const json& stored, const json& written) {
  const auto found = stored.find("status");
  const auto status = found == stored.end() ? json::object() : *found;
  if (!status.is_object() || (written.value("inForce", json()).is_object() &&
                              !status.contains("inForce"))) {
    return true;
  }
  const auto conditions = status.value("conditions", json::array());
  return std::ranges::any_of(written.at("conditions"), [&](const json& each) {
    const auto* shown = find_type(conditions, kube::text_of(each, "type"));
    return shown == nullptr || (each.contains("observedGeneration") &&
                                !shown->contains("observedGeneration"));
  });
}

// Returns `conditions` with the wanted ones in place of their older versions.
json merged(const json& conditions, const std::vector<Condition>& wanted,
            std::int64_t generation, bool lossy) {
  json result = json::array();
  for (const auto& condition : conditions) {
    if (std::ranges::none_of(wanted, [&](const Condition& mine) {
          return condition.is_object() &&
                 kube::text_of(condition, "type") == mine.type;
        })) {
      result.push_back(condition);
    }
  }
  for (const auto& condition : wanted) {
    const auto* before = find_type(conditions, condition.type);
    const bool same = before != nullptr && kube::text_of(*before, "status") ==
                                               status_text(condition.status);
    auto since =
        same ? kube::text_of(*before, "lastTransitionTime") : std::string{};
    if (since.empty()) {
      since = now_text();
    }
    result.push_back({{"type", condition.type},
                      {"status", status_text(condition.status)},
                      {"reason", condition.reason},
                      {"message", message_of(condition, generation, lossy)},
                      {"observedGeneration", generation},
                      {"lastTransitionTime", since}});
  }
  return result;
}

std::string path_of(const PolicyObject& object) {
  const auto& resource = *object.resource;
  return kube::resource_path(resource, resource.versions.front(), object.key.ns,
                             object.key.name);
}

std::int64_t generation_of(const json& kept) {
  return kept.is_object() ? kept.at("generation").get<std::int64_t>() : 0;
}

}  // namespace

std::optional<Condition> shown_condition(const PolicyObject& object,
                                         const std::string& type) {
  if (!object.conditions) {
    return std::nullopt;
  }
  const auto* found = find_type(*object.conditions, type);
  if (found == nullptr) {
    return std::nullopt;
  }
  auto message = kube::text_of(*found, "message");
  if (found->contains("observedGeneration")) {
    if (found->at("observedGeneration") != json(object.generation)) {
      return std::nullopt;
    }
  } else {
    const auto said = generation_text(object.generation);
    if (message != said && !message.starts_with(said + ": ")) {
      return std::nullopt;
    }
    message.erase(0, message == said ? said.size() : said.size() + 2);
  }
  return Condition{.type = type,
                   .status = kube::text_of(*found, "status") == "True",
                   .reason = kube::text_of(*found, "reason"),
                   .message = std::move(message)};
}

struct StatusWriter::Impl {
  struct Target {
    std::string uid;
    const kube::Resource* resource = nullptr;
    std::string version;
    std::int64_t generation = 0;
    std::string path;
    std::optional<json> there;  // conditions as far as known
    std::int64_t kept = 0;      // generation in inForce, the same
    std::vector<Condition> wanted;
    json to_keep;               // null: nothing
    std::int64_t not_kept = 0;  // generation that inForce has no room for
    bool queued = false;
    kube::Call call;
    bool busy = false;
    std::string told_problem;
    kube::Backoff backoff{kRetryFirst, kRetryMost};
    Timer retry;
  };

  kube::Client* client = nullptr;
  std::string instance;
  std::map<ObjectKey, Target> targets;
  std::deque<ObjectKey> queue;
  std::size_t in_flight = 0;
  // Kinds whose definition at the API server drops a part of the status.
  std::set<std::string> lossy;
  std::deque<kube::EventNote> notes;
  kube::Call note_call;
  bool noting = false;
  StatusStats stats;

  void enqueue(const ObjectKey& key, Target& target);
  void pump();
  void read(const ObjectKey& key, Target& target);
  void write(const ObjectKey& key, Target& target);
  [[nodiscard]] bool satisfied(const ObjectKey& key,
                               const Target& target) const;
  void written(const ObjectKey& key, Target& target, const json& status,
               const json& stored);
  void add_note(const ObjectKey& key, const kube::Resource& resource,
                kube::EventNote note);
  void done(const ObjectKey& key, const std::optional<kube::ApiError>& error);
  void pump_notes();
};

// Fields that the definition drops are not written again and again.
bool StatusWriter::Impl::satisfied(const ObjectKey& key,
                                   const Target& target) const {
  const bool all = !lossy.contains(key.kind);
  const auto kept = generation_of(target.to_keep);
  return target.there &&
         (target.kept == kept || (!all && target.not_kept == kept)) &&
         std::ranges::all_of(target.wanted, [&](const Condition& wanted) {
           auto written = wanted;
           written.message = message_of(wanted, target.generation, !all);
           return says(find_type(*target.there, wanted.type), written,
                       all ? std::optional(target.generation) : std::nullopt);
         });
}

// Creates an event about the object `key`, and fills in the fields about the
// object.
void StatusWriter::Impl::add_note(const ObjectKey& key,
                                  const kube::Resource& resource,
                                  kube::EventNote note) {
  if (notes.size() >= kEventsWaiting) {
    return;  // the conditions report it too
  }
  note.api_version = resource.api_version(resource.versions.front());
  note.kind = resource.kind;
  note.ns = key.ns;
  note.name = key.name;
  note.instance = instance;
  notes.push_back(std::move(note));
  pump_notes();
}

void StatusWriter::Impl::written(const ObjectKey& key, Target& target,
                                 const json& status, const json& stored) {
  ++stats.writes;
  target.there = status.at("conditions");
  // The value that was sent; the wanted one may have changed since.
  const auto kept = status.contains("inForce")
                        ? generation_of(status.at("inForce"))
                        : target.kept;
  if (!dropped(stored, status)) {
    target.kept = kept;
    if (lossy.erase(key.kind) != 0) {
      spdlog::info("{}: its definition keeps the whole status now", key.kind);
    }
    return;
  }
  if (lossy.insert(key.kind).second) {
    spdlog::warn(
        "{}: its definition at the API server is not Sluice's and drops parts "
        "of the status (observedGeneration, inForce); policies are enforced "
        "all the same",
        key.kind);
  }
  if (kept == 0 || stored.value("status", json::object()).contains("inForce")) {
    target.kept = kept;
  } else {
    target.not_kept = kept;
  }
}

void StatusWriter::Impl::enqueue(const ObjectKey& key, Target& target) {
  if (!target.queued && !target.busy && !target.wanted.empty() &&
      !satisfied(key, target)) {
    target.queued = true;
    queue.push_back(key);
    pump();
  }
}

void StatusWriter::Impl::pump() {
  while (in_flight < kInFlight && !queue.empty()) {
    const auto key = std::move(queue.front());
    queue.pop_front();
    const auto found = targets.find(key);
    if (found == targets.end() || !found->second.queued) {
      continue;
    }
    auto& target = found->second;
    target.queued = false;
    if (target.busy || satisfied(key, target)) {
      continue;
    }
    target.busy = true;
    ++in_flight;
    if (target.there) {
      write(key, target);
    } else {
      read(key, target);
    }
  }
}

// For kinds whose watch events do not include the status.
void StatusWriter::Impl::read(const ObjectKey& key, Target& target) {
  target.call = kube::get_object(
      *client, target.path, [this, key](const ApiResult<json>& answer) {
        const auto found = targets.find(key);
        if (answer && found != targets.end()) {
          const auto status = answer->value("status", json::object());
          const auto conditions =
              status.is_object() ? status.value("conditions", json()) : json();
          found->second.there =
              conditions.is_array() ? conditions : json::array();
        }
        done(key, answer ? std::nullopt : std::optional(answer.error()));
      });
}

void StatusWriter::Impl::write(const ObjectKey& key, Target& target) {
  auto conditions = merged(*target.there, target.wanted, target.generation,
                           lossy.contains(key.kind));
  // With the uid, a new object with the same name is not touched.
  json body{{"metadata", {{"uid", target.uid}}},
            {"status", {{"conditions", conditions}}}};
  const auto kept = generation_of(target.to_keep);
  if (target.kept != kept) {
    body["status"]["inForce"] = target.to_keep;  // null removes it
  }
  target.call = kube::patch_object(
      *client, target.path + "/status", kube::Patch::kMerge, body,
      "sluice-operator",
      [this, key, status = body.at("status")](const ApiResult<json>& answer) {
        const auto found = targets.find(key);
        if (answer && found != targets.end()) {
          written(key, found->second, status, *answer);
        }
        done(key, answer ? std::nullopt : std::optional(answer.error()));
      });
}

void StatusWriter::Impl::done(const ObjectKey& key,
                              const std::optional<kube::ApiError>& error) {
  --in_flight;
  const auto found = targets.find(key);
  if (found != targets.end()) {
    auto& target = found->second;
    target.busy = false;
    if (!error) {
      target.backoff.reset();
      target.told_problem.clear();
      enqueue(key, target);
    } else if (error->status == kNotFound || error->status == kConflict) {
      // Deleted or replaced: a watch event will report it.
      target.wanted.clear();
    } else {
      ++stats.failures;
      if (target.told_problem != error->message) {
        target.told_problem = error->message;
        spdlog::warn("status of {}: {}", to_string(key), error->message);
      }
      target.retry = client->loop().after(target.backoff.next(), [this, key] {
        if (const auto again = targets.find(key); again != targets.end()) {
          enqueue(key, again->second);
        }
      });
    }
  }
  pump();
}

void StatusWriter::Impl::pump_notes() {
  if (noting || notes.empty()) {
    return;
  }
  noting = true;
  const auto note = std::move(notes.front());
  notes.pop_front();
  note_call =
      kube::create_event(*client, note, [this](const ApiResult<json>& answer) {
        noting = false;
        if (answer) {
          ++stats.events;
        } else {
          ++stats.failures;
          spdlog::warn("event: {}", answer.error().message);
        }
        pump_notes();
      });
}

StatusWriter::StatusWriter(kube::Client& client, std::string instance)
    : impl_(std::make_unique<Impl>()) {
  impl_->client = &client;
  impl_->instance = std::move(instance);
}

StatusWriter::~StatusWriter() = default;

void StatusWriter::seen(const PolicyObject& object) {
  const auto found = impl_->targets.find(object.key);
  if (found == impl_->targets.end()) {
    return;
  }
  auto& target = found->second;
  if (target.uid != object.uid) {
    impl_->in_flight -= target.busy ? 1 : 0;
    impl_->targets.erase(found);
    impl_->pump();
    return;
  }
  if (object.conditions && !target.busy) {
    target.there = *object.conditions;
    target.kept = object.kept_generation;
  }
}

void StatusWriter::want(const PolicyObject& object,
                        std::vector<Condition> conditions) {
  const auto [found, is_new] = impl_->targets.try_emplace(object.key);
  auto& target = found->second;
  if (is_new) {
    target.uid = object.uid;
    target.resource = object.resource;
    target.path = path_of(object);
    if (object.conditions) {
      target.there = *object.conditions;
    }
    target.kept = object.kept_generation;
  }
  target.generation = object.generation;
  target.version = object.latest_version;
  target.to_keep = op::to_keep(object);
  target.wanted = std::move(conditions);
  impl_->enqueue(object.key, target);
}

bool StatusWriter::is_lossy(const std::string& kind) const {
  return impl_->lossy.contains(kind);
}

void StatusWriter::forget(const ObjectKey& key) {
  const auto found = impl_->targets.find(key);
  if (found != impl_->targets.end()) {
    impl_->in_flight -= found->second.busy ? 1 : 0;
    impl_->targets.erase(found);
    impl_->pump();
  }
}

void StatusWriter::stop() {
  impl_->targets.clear();
  impl_->queue.clear();
  impl_->in_flight = 0;
  impl_->notes.clear();
}

void StatusWriter::event(const PolicyObject& object, bool warning,
                         const std::string& reason,
                         const std::string& message) {
  impl_->add_note(object.key, *object.resource,
                  {.warning = warning,
                   .reason = reason,
                   .message = message,
                   .uid = object.uid,
                   .resource_version = object.latest_version});
}

const StatusStats& StatusWriter::stats() const {
  return impl_->stats;
}

}  // namespace sluice::operatord
