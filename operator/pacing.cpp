// SPDX-License-Identifier: Apache-2.0
#include "operator/pacing.h"

#include <algorithm>
#include <ranges>
#include <utility>

namespace sluice::op {
namespace {

using kube::Event;

// A suspicion that nothing has renewed for this time is forgotten.
constexpr std::chrono::seconds kForgotten{30};

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
  const auto account = suspected_.find(event.ns);
  if (account == suspected_.end()) {
    turn_.insert(event.ns);
    return false;
  }
  auto& [due, held] = account->second;
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
    due = {};
  }
  return true;
}

void Pacing::charge(std::chrono::nanoseconds spent) {
  if (spent >= kExpensive) {
    for (const auto& ns : turn_) {
      suspected_[ns];
    }
  }
  turn_.clear();
}

std::vector<Event> Pacing::take_due(Clock::time_point now) {
  auto first = suspected_.end();
  for (auto at = suspected_.begin(); at != suspected_.end();) {
    const auto& account = at->second;
    if (account.held.empty() && account.due != Clock::time_point{} &&
        now > account.due + kForgotten) {
      at = suspected_.erase(at);
      continue;
    }
    if (!account.held.empty() && account.due <= now &&
        (first == suspected_.end() || account.due < first->second.due)) {
      first = at;
    }
    ++at;
  }
  std::vector<Event> events;
  if (first == suspected_.end()) {
    return events;
  }
  alone_ = first->first;
  for (auto& held : std::exchange(first->second.held, {})) {
    events.push_back(std::move(held.event));
  }
  return events;
}

void Pacing::charge_alone(std::chrono::nanoseconds spent,
                          Clock::time_point now) {
  const auto account = suspected_.find(alone_);
  if (account == suspected_.end()) {
    return;
  }
  if (spent < kExpensive) {
    if (account->second.held.empty()) {
      suspected_.erase(account);
    }
    return;
  }
  account->second.due =
      now + std::min<Clock::duration>((kParts - 1) * spent, kHoldMax);
}

std::uint64_t Pacing::oldest_held(std::size_t kind) const {
  std::uint64_t oldest = 0;
  for (const auto& [ns, account] : suspected_) {
    for (const auto& held : account.held) {
      // What a new list has found to be gone has no version.
      if (held.kind == kind && held.first_version != 0 &&
          (oldest == 0 || held.first_version < oldest)) {
        oldest = held.first_version;
      }
    }
  }
  return oldest;
}

}  // namespace sluice::op
