// SPDX-License-Identifier: Apache-2.0
#include "agent/endpoints.h"

#include <algorithm>
#include <set>
#include <utility>

namespace sluice::agent {
namespace {

std::string nothing_found(const EndpointEntry& entry,
                          const Interfaces& interfaces) {
  if (!entry.interface.empty()) {
    return interfaces.may_be_named(entry.interface)
               ? "no interface " + entry.interface
               : "interface " + entry.interface + " is no pod's";
  }
  std::string text = "no interface found for";
  for (const auto& ip : entry.ips) {
    text += " " + to_string(ip);
  }
  // Policies cannot be enforced if the node has no end of the pod's interface;
  // the message must show that waiting does not help.
  if (const auto instead = interfaces.reached_by(entry); !instead.empty()) {
    text +=
        ": " + instead + "; policy can be enforced only for pods with a veth";
  }
  return text;
}

// True if the owner of an interface keeps it when another endpoint is found to
// have it.
bool keeps_it(const EndpointEntry& owner, const EndpointEntry& other,
              const std::optional<Interfaces::Found>& found) {
  if (!found || !found->trusted) {
    return true;
  }
  return !found->announced &&
         (owner.interface.empty() || !other.interface.empty());
}

}  // namespace

void Endpoints::set(const std::string& name,
                    std::optional<EndpointEntry> entry) {
  const auto it = states_.find(name);
  if (!entry) {
    if (it != states_.end()) {
      release(name, it->second);
      states_.erase(it);
    }
    return;
  }
  auto& endpoint = states_[name];
  const bool moved = endpoint.entry.ips != entry->ips ||
                     endpoint.entry.interface != entry->interface;
  endpoint.entry = std::move(*entry);
  if (moved && endpoint.ifindex != 0) {
    attached_.insert(name);
    // An interface found for other addresses is no reason to keep it.
    const auto found = interfaces_.find(endpoint.entry);
    if (found && found->ifindex != endpoint.ifindex) {
      release(name, endpoint);
    }
  }
  resolve(name, endpoint);
}

void Endpoints::apply(const std::vector<Transaction::EndpointChange>& changes) {
  bool left = false;
  for (const auto& change : changes) {
    if (!change.value) {
      set(change.name, std::nullopt);
      left = true;
    }
  }
  for (const auto& change : changes) {
    if (change.value) {
      set(change.name, change.value);
    }
  }
  for (auto& [name, endpoint] : states_) {
    if (left && endpoint.ifindex == 0) {
      resolve(name, endpoint);
    }
  }
}

void Endpoints::replace(const std::vector<EndpointEntry>& entries) {
  for (const auto& record : applier_.records()) {
    if (interfaces_.exists(record.ifindex)) {
      for (const auto& ip : record.ips) {
        records_[ip] = record.ifindex;
      }
    }
  }
  std::unordered_set<std::string> wanted;
  for (const auto& entry : entries) {
    wanted.insert(entry.name);
  }
  for (auto it = states_.begin(); it != states_.end();) {
    if (wanted.contains(it->first)) {
      ++it;
      continue;
    }
    release(it->first, it->second);
    it = states_.erase(it);
  }
  // Endpoints that name an interface come last: they get interfaces that no
  // other endpoint has.
  for (const bool named : {false, true}) {
    for (const auto& entry : entries) {
      if (entry.interface.empty() != named) {
        set(entry.name, entry);
      }
    }
  }
  records_.clear();
}

std::uint32_t Endpoints::recorded(const EndpointEntry& entry) const {
  for (const auto& ip : entry.ips) {
    const auto it = records_.find(ip);
    if (it != records_.end() && !owners_.contains(it->second)) {
      return it->second;
    }
  }
  return 0;
}

// Once found, an interface stays the endpoint's until it is gone or a trusted
// source names another one, because neighbour entries change and can be forged.
// An endpoint that names an interface does not get one to which the route of
// another endpoint's address leads, because a pod's owner chooses the name.
void Endpoints::resolve(const std::string& name, EndpointState& endpoint) {
  const auto found = interfaces_.find(endpoint.entry);
  std::uint32_t ifindex = found ? found->ifindex : 0;
  if (!found || !found->trusted) {
    if (endpoint.ifindex != 0) {
      ifindex = endpoint.ifindex;
    } else if (const auto old = recorded(endpoint.entry); old != 0) {
      ifindex = old;
    }
  }
  if (ifindex == 0) {
    endpoint.problem = nothing_found(endpoint.entry, interfaces_);
    if (endpoint.entry.interface.empty()) {
      interfaces_.solicit(endpoint.entry);
    }
    return;
  }
  if (ifindex != endpoint.ifindex) {
    const auto owner = owners_.find(ifindex);
    if (owner != owners_.end() && owner->second != name) {
      const std::string holder = owner->second;
      auto& other = states_[holder];
      const bool prior = keeps_it(other.entry, endpoint.entry, found);
      auto& loser = prior ? endpoint : other;
      loser.problem = "interface " + interfaces_.name(ifindex) +
                      " belongs to " + (prior ? holder : name);
      if (prior) {
        return;
      }
      release(holder, other);
    }
    bind(name, endpoint, ifindex);
  }
  if (!endpoint.attached) {
    attach(name, endpoint);
  }
}

void Endpoints::bind(const std::string& name, EndpointState& endpoint,
                     std::uint32_t ifindex) {
  release(name, endpoint);
  endpoint.ifindex = ifindex;
  owners_[ifindex] = name;
  released_.erase(ifindex);
  applier_.bind(name, ifindex, link_of(endpoint));
}

EndpointLink Endpoints::link_of(const EndpointState& endpoint) const {
  EndpointLink link;
  for (const auto& ip : endpoint.entry.ips) {
    if (ip.v6) {
      link.on_link6 = interfaces_.on_link6(endpoint.ifindex, ip);
    }
  }
  return link;
}

void Endpoints::release(const std::string& name, EndpointState& endpoint) {
  if (endpoint.ifindex == 0) {
    return;
  }
  owners_.erase(endpoint.ifindex);
  released_.insert(endpoint.ifindex);
  applier_.bind(name, 0);
  endpoint.ifindex = 0;
  endpoint.attached = false;
}

void Endpoints::attach(const std::string& name, EndpointState& endpoint) {
  auto result = attacher_.attach(endpoint.ifindex);
  endpoint.attached = result.has_value();
  endpoint.problem = result ? "" : result.error().message;
  if (result) {
    attached_.insert(name);
  }
}

std::vector<NewlyEnforced> Endpoints::take_newly_enforced() {
  std::vector<NewlyEnforced> result;
  if (attached_.empty()) {
    return result;
  }
  std::set<std::pair<std::uint32_t, IpAddress>> in_force;
  if (knows_flows_) {
    for (const auto& record : applier_.records()) {
      for (const auto& ip : record.ips) {
        in_force.emplace(record.ifindex, ip);
      }
    }
  }
  knows_flows_ = true;
  for (const auto& name : std::exchange(attached_, {})) {
    const auto it = states_.find(name);
    if (it == states_.end() || !it->second.attached ||
        interfaces_.is_starting(name)) {
      continue;
    }
    NewlyEnforced beginner{.ifindex = it->second.ifindex, .ips = {}};
    for (const auto& ip : it->second.entry.ips) {
      if (!in_force.contains({beginner.ifindex, ip})) {
        beginner.ips.push_back(ip);
        beginner.switched_unseen =
            beginner.switched_unseen ||
            interfaces_.is_switched_unseen(beginner.ifindex, ip.v6);
      }
    }
    if (!beginner.ips.empty()) {
      result.push_back(std::move(beginner));
    }
  }
  return result;
}

bool Endpoints::refresh(const Interfaces::Changes& changes) {
  for (const std::uint32_t ifindex : changes.gone) {
    const auto owner = owners_.find(ifindex);
    if (owner != owners_.end()) {
      auto& endpoint = states_[owner->second];
      const std::string name = owner->second;
      release(name, endpoint);
    }
    // The programs are gone with the interface. A new interface may have the
    // same number.
    released_.erase(ifindex);
  }
  for (const std::uint32_t ifindex : changes.filters) {
    if (const auto owner = owners_.find(ifindex); owner != owners_.end()) {
      states_[owner->second].attached = false;  // looked at again below
    }
  }
  bool bound = !changes.gone.empty();
  for (auto& [name, endpoint] : states_) {
    const std::uint32_t before = endpoint.ifindex;
    if (changes.resynced) {
      endpoint.attached = false;  // it may have been recreated unseen
    }
    resolve(name, endpoint);
    bound = bound || endpoint.ifindex != before;
  }
  return bound;
}

void Endpoints::settle() {
  for (const std::uint32_t ifindex : std::exchange(released_, {})) {
    if (!attacher_.detach(ifindex)) {
      released_.insert(ifindex);  // retried next time
    }
  }
}

void Endpoints::sweep() {
  for (const std::uint32_t ifindex : interfaces_.all()) {
    if (!owners_.contains(ifindex) && attacher_.attached(ifindex)) {
      released_.insert(ifindex);
    }
  }
  settle();
}

std::string Endpoints::name_of(std::uint32_t ifindex) const {
  const auto it = owners_.find(ifindex);
  return it == owners_.end() ? "" : it->second;
}

}  // namespace sluice::agent
