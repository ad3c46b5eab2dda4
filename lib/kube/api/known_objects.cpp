// SPDX-License-Identifier: Apache-2.0
#include "lib/kube/api/known_objects.h"

#include <utility>

namespace sluice::kube {

bool KnownObjects::apply(const Event& event) {
  std::string key = event.ns + "/" + event.name;
  if (event.type == Event::Type::kDeleted) {
    return known_.erase(key) != 0;
  }
  Known& known = known_[std::move(key)];
  known.pass = pass_;
  if (!known.resource_version.empty() &&
      known.resource_version == event.resource_version) {
    return false;
  }
  known.resource_version = event.resource_version;
  return true;
}

void KnownObjects::begin_list() {
  ++pass_;
}

std::vector<Event> KnownObjects::take_unlisted(const Resource& resource) {
  std::vector<Event> result;
  for (auto at = known_.begin(); at != known_.end();) {
    if (at->second.pass == pass_) {
      ++at;
      continue;
    }
    const auto slash = at->first.find('/');
    Event& event = result.emplace_back();
    event.type = Event::Type::kDeleted;
    event.resource = &resource;
    event.ns = at->first.substr(0, slash);
    event.name = at->first.substr(slash + 1);
    at = known_.erase(at);
  }
  return result;
}

}  // namespace sluice::kube
