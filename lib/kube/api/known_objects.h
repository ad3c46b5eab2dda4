// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/kube/api/event.h"
#include "lib/kube/api/resource.h"

namespace sluice::kube {

// Which version of every object the owner of a reflector has been told of.
// Internal to Reflector; not thread-safe.
class KnownObjects {
 public:
  // Takes the event, of a list or of a watch, into account. True if it is new
  // to the owner.
  bool apply(const Event& event);
  // A list begins: what apply() gets from now on is in it.
  void begin_list();
  // The list is complete: forgets the objects that it did not have, and returns
  // their deletion.
  std::vector<Event> take_unlisted(const Resource& resource);
  [[nodiscard]] std::size_t size() const { return known_.size(); }
  [[nodiscard]] bool empty() const { return known_.empty(); }

 private:
  struct Known {
    std::string resource_version;
    std::uint64_t pass = 0;  // of the last list that had it
  };
  std::unordered_map<std::string, Known> known_;  // by "namespace/name"
  std::uint64_t pass_ = 0;
};

}  // namespace sluice::kube
