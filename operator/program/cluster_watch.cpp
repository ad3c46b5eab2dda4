// SPDX-License-Identifier: Apache-2.0
#include "operator/program/cluster_watch.h"

#include <algorithm>
#include <utility>

#include <spdlog/spdlog.h>

#include "lib/kube/api/resource.h"

namespace sluice::operatord {
namespace {

using kube::Event;
using kube::Reflector;

std::string name_of(const Event& event) {
  return event.resource->kind + "/" +
         (event.ns.empty() ? event.name : event.ns + "/" + event.name);
}

}  // namespace

struct ClusterWatch::Watched {
  std::unique_ptr<Reflector> reflector;
  std::size_t policy_kind = op::kPolicyKinds;
  std::uint64_t newest = 0;  // newest version among the received events
  bool told_absent = false;
  std::string told_problem;
};

ClusterWatch::ClusterWatch(kube::Client& client, op::ClusterStore& store,
                           std::function<void()> on_change)
    : store_(store), on_change_(std::move(on_change)) {
  for (const auto* resource :
       {&kube::namespaces(), &kube::nodes(), &kube::pods(), &kube::services(),
        &kube::endpoint_slices(), &kube::cidr_groups(),
        &kube::cilium_network_policies(),
        &kube::cilium_clusterwide_network_policies(), &kube::network_policies(),
        &kube::cluster_network_policies()}) {
    auto watched = std::make_unique<Watched>();
    watched->policy_kind = op::policy_kind_index(resource->kind);
    kube::ReflectorOptions options;
    options.on_change = [this, at = watched.get()] { changed(*at); };
    watched->reflector = std::make_unique<Reflector>(
        client, *resource,
        [this, at = watched.get()](const std::vector<Event>& events) {
          take(*at, events);
        },
        std::move(options));
    unsynced_.push_back(watched.get());
    watched_.push_back(std::move(watched));
  }
}

ClusterWatch::~ClusterWatch() = default;

void ClusterWatch::start() {
  for (const auto& watched : watched_) {
    watched->reflector->start();
  }
}

void ClusterWatch::take(Watched& watched, const std::vector<Event>& events) {
  bool told = false;
  for (const auto& event : events) {
    if (event.type == Event::Type::kInvalid) {
      spdlog::warn("{}: {}; its previous version still counts", name_of(event),
                   event.error);
    }
    const bool held = watched.policy_kind < versions_.size() &&
                      !event.ns.empty() && synced() && pacing_.hold(event);
    if (!held) {
      told = store_.take(event) || told;
    }
    watched.newest =
        std::max(watched.newest, op::version_number(event.resource_version));
  }
  settle(watched);
  if (told) {
    on_change_();
  }
}

// A list is sorted by name, so everything older than its newest object is known
// only when the list is complete.
void ClusterWatch::settle(Watched& watched) {
  if (watched.policy_kind < versions_.size() &&
      watched.reflector->state() == Reflector::State::kWatching) {
    versions_[watched.policy_kind] = watched.newest;
  }
}

op::TakenIn ClusterWatch::taken_in() const {
  op::TakenIn result{.versions = versions_, .held = pacing_.held()};
  // What a report has no place for makes the versions older for everybody.
  while (result.held.size() > wire::kHeldMax) {
    const auto& last = result.held.back();
    auto& version = result.versions.at(last.kind);
    version = std::min(version, last.version - 1);
    result.held.pop_back();
  }
  return result;
}

bool ClusterWatch::hand_over(std::chrono::steady_clock::time_point now) {
  return take_held(pacing_.take_due(now));
}

void ClusterWatch::release(const std::string& ns) {
  take_held(pacing_.take(ns));
}

// What is held is reported, so it is a change that it is not any more.
bool ClusterWatch::take_held(const std::vector<Event>& events) {
  for (const auto& event : events) {
    store_.take(event);
  }
  if (!events.empty()) {
    on_change_();
  }
  return !events.empty();
}

void ClusterWatch::changed(Watched& watched) {
  const auto& reflector = *watched.reflector;
  const auto& kind = reflector.resource().kind;
  settle(watched);
  if (reflector.synced()) {
    std::erase(unsynced_, &watched);
  }
  const bool absent = reflector.state() == Reflector::State::kNotInstalled;
  if (absent != watched.told_absent) {
    watched.told_absent = absent;
    spdlog::info(
        "{}: {}", kind,
        absent ? "not installed; waiting for its definition" : "installed");
  }
  const bool waiting = reflector.state() == Reflector::State::kWaiting;
  if (waiting && watched.told_problem != reflector.error()) {
    watched.told_problem = reflector.error();
    spdlog::warn("{}", reflector.error());
  } else if (reflector.state() == Reflector::State::kWatching) {
    watched.told_problem.clear();
  }
  on_change_();
}

std::string ClusterWatch::problem() const {
  if (unsynced_.empty()) {
    return {};
  }
  const auto& reflector = *unsynced_.front()->reflector;
  return reflector.resource().plural + " have not been listed yet" +
         (reflector.error().empty() ? "" : ": " + reflector.error());
}

std::vector<ClusterWatch::Kind> ClusterWatch::kinds() const {
  std::vector<Kind> result;
  for (const auto& watched : watched_) {
    const auto& reflector = *watched->reflector;
    result.push_back({.kind = reflector.resource().kind,
                      .state = std::string(to_string(reflector.state())),
                      .problem = reflector.error(),
                      .synced = reflector.synced(),
                      .objects = reflector.size(),
                      .stats = reflector.stats()});
  }
  return result;
}

}  // namespace sluice::operatord
