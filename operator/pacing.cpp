// SPDX-License-Identifier: Apache-2.0
#include "operator/pacing.h"

#include <algorithm>
#include <array>
#include <ranges>
#include <utility>

namespace sluice::op {
namespace {

using kube::Event;

// A namespace is watched for so long after it was, or may have been, expensive.
constexpr std::chrono::seconds kWatched{30};

bool same_object(const Event& a, const Event& b) {
  return a.resource == b.resource && a.ns == b.ns && a.name == b.name;
}

// A later version takes the place of an earlier one of the same object only if
// the object was not deleted and made again in between.
bool replaces(const Event& later, const Event& earlier) {
  return later.type == Event::Type::kSet && earlier.type == Event::Type::kSet &&
         later.uid == earlier.uid && same_object(later, earlier);
}

}  // namespace

bool Pacing::hold(const Event& event) {
  const auto account = watched_.find(event.ns);
  if (account == watched_.end()) {
    turn_.insert(event.ns);
    return false;
  }
  auto& held = account->second.held;
  // The last event of the object, because their order counts.
  auto latest_first = std::views::reverse(held);
  const auto last = std::ranges::find_if(latest_first, [&](const Held& one) {
    return same_object(one.event, event);
  });
  if (last != latest_first.end() && replaces(event, last->event)) {
    last->event = event;
    return true;
  }
  held.push_back({.event = event,
                  .kind = policy_kind_index(event.resource->kind),
                  .first_version = version_number(event.resource_version)});
  if (held.size() >= kEventsMax) {
    account->second.due = {};
  }
  return true;
}

void Pacing::charge(std::chrono::nanoseconds spent, Clock::time_point now) {
  if (spent >= kExpensive) {
    for (const auto& ns : turn_) {
      watched_[ns].expensive = now;
    }
  }
  turn_.clear();
}

std::vector<Event> Pacing::take_due(Clock::time_point now) {
  auto first = watched_.end();
  for (auto at = watched_.begin(); at != watched_.end();) {
    const auto& account = at->second;
    if (account.held.empty() && now > account.expensive + kWatched) {
      at = watched_.erase(at);
      continue;
    }
    if (!account.held.empty() && account.due <= now &&
        (first == watched_.end() || account.due < first->second.due)) {
      first = at;
    }
    ++at;
  }
  if (first == watched_.end()) {
    return {};
  }
  alone_ = first->first;
  return take(first->second);
}

std::vector<Event> Pacing::take(const std::string& ns) {
  const auto account = watched_.find(ns);
  if (account == watched_.end() || account->second.held.empty()) {
    return {};
  }
  turn_.insert(ns);
  return take(account->second);
}

std::vector<Event> Pacing::take(Account& account) {
  std::vector<Event> events;
  for (auto& held : std::exchange(account.held, {})) {
    events.push_back(std::move(held.event));
  }
  return events;
}

void Pacing::charge_alone(std::chrono::nanoseconds spent,
                          Clock::time_point now) {
  const auto account = watched_.find(alone_);
  if (account == watched_.end() || spent < kExpensive) {
    return;
  }
  account->second.expensive = now;
  account->second.due =
      now + std::min<Clock::duration>((kParts - 1) * spent, kHoldMax);
}

std::vector<wire::HeldVersion> Pacing::held() const {
  std::vector<wire::HeldVersion> result;
  for (const auto& [ns, account] : watched_) {
    std::array<std::uint64_t, kPolicyKinds> oldest{};
    for (const auto& held : account.held) {
      // What a new list has found to be gone has no version.
      auto& version = oldest.at(held.kind);
      if (held.first_version != 0 &&
          (version == 0 || held.first_version < version)) {
        version = held.first_version;
      }
    }
    for (std::uint32_t kind = 0; kind < kPolicyKinds; ++kind) {
      if (oldest.at(kind) != 0) {
        result.push_back({.ns = ns, .kind = kind, .version = oldest.at(kind)});
      }
    }
  }
  return result;
}

}  // namespace sluice::op
