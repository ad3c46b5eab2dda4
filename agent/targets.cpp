// SPDX-License-Identifier: Apache-2.0
#include "agent/targets.h"

#include <utility>

namespace sluice::agent {

void EndpointTargets::unlink(const std::string& name) {
  const auto binding = bindings_.find(name);
  if (binding == bindings_.end()) {
    return;
  }
  dirty_.insert(binding->second);
  const auto endpoint = endpoints_.find(name);
  if (endpoint == endpoints_.end()) {
    return;
  }
  const auto members = sets_.find(endpoint->second.policy_set);
  if (members == sets_.end()) {
    return;
  }
  members->second.erase(binding->second);
  if (members->second.empty()) {
    sets_.erase(members);
  }
}

void EndpointTargets::link(const std::string& name) {
  const auto binding = bindings_.find(name);
  if (binding == bindings_.end()) {
    return;
  }
  dirty_.insert(binding->second);
  const auto endpoint = endpoints_.find(name);
  if (endpoint != endpoints_.end()) {
    sets_[endpoint->second.policy_set].insert(binding->second);
  }
}

void EndpointTargets::set(const std::string& name,
                          std::optional<EndpointEntry> entry) {
  unlink(name);
  if (entry) {
    endpoints_.insert_or_assign(name, std::move(*entry));
  } else {
    endpoints_.erase(name);
  }
  link(name);
}

void EndpointTargets::bind(const std::string& name, std::uint32_t ifindex,
                           const EndpointLink& link_facts) {
  unlink(name);
  const auto old = bindings_.find(name);
  if (old != bindings_.end()) {
    names_.erase(old->second);
    links_.erase(old->second);
    bindings_.erase(old);
  }
  if (ifindex == 0) {
    return;
  }
  const auto holder = names_.find(ifindex);
  if (holder != names_.end()) {
    unlink(holder->second);
    bindings_.erase(holder->second);
    names_.erase(holder);
  }
  bindings_.emplace(name, ifindex);
  names_.emplace(ifindex, name);
  links_.insert_or_assign(ifindex, link_facts);
  link(name);
}

void EndpointTargets::adopt_until(std::uint32_t ifindex,
                                  std::uint32_t jiffies) {
  if (const auto it = links_.find(ifindex); it != links_.end()) {
    it->second.adopt_until = jiffies;
  }
}

void EndpointTargets::clear_endpoints() {
  mark_all();
  endpoints_.clear();
  sets_.clear();
}

const EndpointEntry* EndpointTargets::at(std::uint32_t ifindex) const {
  const auto name = names_.find(ifindex);
  return name == names_.end() ? nullptr : find(name->second);
}

EndpointLink EndpointTargets::link_of(std::uint32_t ifindex) const {
  const auto it = links_.find(ifindex);
  return it == links_.end() ? EndpointLink{} : it->second;
}

const EndpointEntry* EndpointTargets::find(const std::string& name) const {
  const auto endpoint = endpoints_.find(name);
  return endpoint == endpoints_.end() ? nullptr : &endpoint->second;
}

std::uint32_t EndpointTargets::interface_of(const std::string& name) const {
  const auto binding = bindings_.find(name);
  return binding == bindings_.end() ? 0 : binding->second;
}

const std::unordered_set<std::uint32_t>& EndpointTargets::of_set(
    std::uint32_t set) const {
  static const std::unordered_set<std::uint32_t> none;
  const auto members = sets_.find(set);
  return members == sets_.end() ? none : members->second;
}

void EndpointTargets::mark_all() {
  for (const auto& [ifindex, name] : names_) {
    dirty_.insert(ifindex);
  }
}

}  // namespace sluice::agent
