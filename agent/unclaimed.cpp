// SPDX-License-Identifier: Apache-2.0
#include "agent/unclaimed.h"

#include <algorithm>
#include <utility>

namespace sluice::agent {
namespace {

class FilterKeepingAttacher final : public Attacher {
 public:
  FilterKeepingAttacher(Attacher& attacher,
                        const std::unordered_set<std::uint32_t>& isolated)
      : attacher_(attacher), isolated_(isolated) {}

  Result<void> attach(std::uint32_t ifindex) override {
    return attacher_.attach(ifindex);
  }
  Result<void> detach(std::uint32_t ifindex) override {
    return isolated_.contains(ifindex) ? Result<void>{}
                                       : attacher_.detach(ifindex);
  }
  [[nodiscard]] bool attached(std::uint32_t ifindex) const override {
    return !isolated_.contains(ifindex) && attacher_.attached(ifindex);
  }

 private:
  Attacher& attacher_;
  const std::unordered_set<std::uint32_t>& isolated_;
};

}  // namespace

std::unique_ptr<Attacher> filter_keeping_attacher(
    Attacher& attacher, const std::unordered_set<std::uint32_t>& isolated) {
  return std::make_unique<FilterKeepingAttacher>(attacher, isolated);
}

// No pod has such a name: a namespace cannot be empty.
std::string Unclaimed::name_for(std::uint32_t ifindex) {
  return "/" + std::to_string(ifindex);
}

EndpointEntry Unclaimed::entry_for(std::uint32_t ifindex) {
  return {.name = name_for(ifindex),
          .policy_set = 0,
          .isolated = {true, true},
          .ips = {},
          .interface = {}};
}

std::unordered_set<std::uint32_t> Unclaimed::wanted(bool skip_recorded) const {
  std::unordered_set<std::uint32_t> result;
  if (!active()) {
    return result;
  }
  for (const std::uint32_t ifindex : interfaces_.all()) {
    if (endpoints_.name_of(ifindex).empty() &&
        (closed_.contains(ifindex) ||
         (deny_ && interfaces_.is_pods(interfaces_.name(ifindex))))) {
      result.insert(ifindex);
    }
  }
  if (skip_recorded) {
    for (const auto& record : applier_.records()) {
      // A record without an address is one of ours, from the previous process.
      if (!record.ips.empty()) {
        result.erase(record.ifindex);
      }
    }
  }
  return result;
}

void Unclaimed::release(std::uint32_t ifindex, Changes& to) {
  auto name = name_for(ifindex);
  applier_.bind(name, 0);
  to.push_back({.name = std::move(name), .value = std::nullopt});
}

void Unclaimed::isolate(std::uint32_t ifindex, Changes& to) {
  auto entry = entry_for(ifindex);
  applier_.bind(entry.name, ifindex);
  released_.erase(ifindex);
  isolated_.insert(ifindex);
  to.push_back({.name = entry.name, .value = std::move(entry)});
}

Unclaimed::Changes Unclaimed::update(const Interfaces::Changes& changes,
                                     bool skip_recorded) {
  const auto all = wanted(skip_recorded);
  Changes result;
  // A deleted interface may have been recreated with the same number.
  for (const std::uint32_t ifindex : changes.gone) {
    released_.erase(ifindex);
    closed_.erase(ifindex);
    if (isolated_.erase(ifindex) > 0) {
      release(ifindex, result);
    }
  }
  for (auto it = isolated_.begin(); it != isolated_.end();) {
    if (all.contains(*it)) {
      ++it;
      continue;
    }
    release(*it, result);
    released_.insert(*it);
    it = isolated_.erase(it);
  }
  for (const std::uint32_t ifindex : all) {
    const bool is_new = !isolated_.contains(ifindex);
    const bool again =
        changes.resynced ||
        std::ranges::find(changes.filters, ifindex) != changes.filters.end();
    if ((is_new || again) && !attacher_.attach(ifindex)) {
      continue;  // it may be gone by now; otherwise the next change retries
    }
    if (is_new) {
      isolate(ifindex, result);
    }
  }
  return result;
}

std::vector<EndpointEntry> Unclaimed::entries() const {
  std::vector<EndpointEntry> result;
  result.reserve(isolated_.size());
  for (const std::uint32_t ifindex : isolated_) {
    result.push_back(entry_for(ifindex));
  }
  return result;
}

void Unclaimed::settle() {
  for (const std::uint32_t ifindex : std::exchange(released_, {})) {
    if (endpoints_.name_of(ifindex).empty() && !attacher_.detach(ifindex)) {
      released_.insert(ifindex);  // retried next time
    }
  }
}

}  // namespace sluice::agent
