// SPDX-License-Identifier: Apache-2.0
// The entries of policy sets for the addresses of Services: at every port, the
// verdict on the backends at their target ports.
#include <algorithm>
#include <utility>

#include "lib/base/sequence.h"
#include "lib/policy/policy_sets.h"
#include "lib/policy/service_variants.h"

namespace sluice::policy {
namespace {

bool is_denied(const Decided& decided, bool isolated) {
  return decided.kind == Decided::Kind::kDeny ||
         (decided.kind == Decided::Kind::kDefault && isolated);
}

}  // namespace

const std::vector<FrontendPort>* PolicySets::frontend(
    std::uint32_t cidr_id) const {
  const auto it = frontends_.find(cidr_id);
  return it == frontends_.end() ? nullptr : &it->second;
}

std::optional<Decided> PolicySets::decide_port(
    const SetDirection& direction, std::uint32_t front,
    const FrontendPort& port, std::span<const OwnPort> own) const {
  if (port.targets.empty()) {
    // Nothing would answer. Denying the packet prevents access to future
    // backends before they have been judged.
    return direction.isolated ? std::optional(Decided{}) : std::nullopt;
  }
  std::optional<Decided> result;
  std::uint8_t dns = 0;
  std::optional<std::uint32_t> last;
  std::vector<Candidate> rules;
  for (const auto& [target, number] : port.targets) {
    if (std::ranges::binary_search(own, OwnPort{.front = front,
                                                .protocol = port.protocol,
                                                .port = port.port,
                                                .target = target,
                                                .number = number})) {
      continue;
    }
    if (last != target) {
      last = target;
      rules = candidates(direction, classes_.key(target));
    }
    auto decided = decide_at(rules, direction.isolated, port.protocol, number);
    decided.name_levels = 0;  // names do not lead to Services
    // A rule that denies is a better explanation than the absence of an
    // allowing rule.
    if (decided.kind == Decided::Kind::kDeny) {
      return decided;
    }
    dns = asked_of_both(dns, decided.dns);
    // Among the allowing rules, prefer one that is logged.
    const bool better = result && !is_denied(*result, direction.isolated) &&
                        ((result->jump == SLUICE_JUMP_NONE &&
                          decided.jump != SLUICE_JUMP_NONE) ||
                         (result->kind == Decided::Kind::kDefault &&
                          decided.kind == Decided::Kind::kAllow));
    if (!result || is_denied(decided, direction.isolated) || better) {
      result = decided;
    }
  }
  if (!result) {
    return Decided{.kind = Decided::Kind::kAllow, .rule = SLUICE_RULE_SELF};
  }
  if (result->kind == Decided::Kind::kAllow) {
    result->dns = dns;
  }
  return result;
}

// Adds the port to those of the class. `behind`: the addresses behind each port
// and class, two at most.
void PolicySets::add_port(std::uint32_t cidr_id, const BehindPort& found,
                          PortMap& ports, Addresses& behind) const {
  auto& port = ports[{found.view->protocol, found.number}];
  port.protocol = found.view->protocol;
  port.port = found.number;
  for (const auto& backend : *found.backends) {
    for (const std::uint32_t id : classes_.classes_of(backend.address)) {
      port.targets.emplace_back(id, backend.port);
      auto& same = behind[{.front = cidr_id,
                           .protocol = found.view->protocol,
                           .port = found.number,
                           .target = id,
                           .number = backend.port}];
      if (same.size() < 2) {
        same.insert(backend.address);
      }
    }
  }
}

// Adds the backends of a place that are alone there, if their own packets are
// subject to it: places of one class may have different backends.
void PolicySets::add_lone(const PeerClasses::Place& place, Addresses here,
                          Addresses& everywhere, LoneBackends& lone) const {
  for (auto& [own, addresses] : here) {
    if (const auto it = everywhere.find(own); it != everywhere.end()) {
      it->second.merge(addresses);
      continue;
    }
    const auto& pods = classes_.pods_at(*addresses.begin());
    if (addresses.size() == 1 &&
        std::ranges::any_of(pods, [&](const PodRecord* pod) {
          return classes_.is_subject_to(place, pod->pod.node);
        })) {
      lone[own].merge(addresses);
    }
  }
}

PolicySets::Resolved PolicySets::resolve(std::uint32_t cidr_id) const {
  const auto& key = classes_.key(cidr_id);
  const auto& frontend = key.frontend;
  PortMap ports;
  Resolved result;
  Addresses everywhere;
  if (frontend.node_ports) {
    for (const auto& port : node_ports_behind(services_, frontend.v6)) {
      add_port(cidr_id, port, ports, everywhere);
    }
  }
  for (const auto& place : classes_.places_of(cidr_id)) {
    Addresses here;
    for (const auto& port :
         ports_behind(services_, classes_, place.address,
                      {.node = place.node, .zone = place.zone})) {
      // Through another node's host port, a pod does not reach itself.
      const bool own = node_of_host_ports(port.name).empty() || key.local_node;
      Addresses others;
      add_port(cidr_id, port, ports, own ? here : others);
    }
    add_lone(place, std::move(here), everywhere, result.lone);
  }
  for (const auto& [own, addresses] : everywhere) {
    if (addresses.size() == 1) {
      result.lone[own] = addresses;
    }
  }
  for (auto& [number, port] : ports) {
    sort_unique(port.targets);
    result.ports.push_back(std::move(port));
  }
  return result;
}

void PolicySets::set_frontend(std::uint32_t cidr_id,
                              std::vector<FrontendPort> ports) {
  const auto each_target = [&](const std::vector<FrontendPort>& list,
                               const auto& visit) {
    for (const auto& port : list) {
      for (const auto& [target, number] : port.targets) {
        visit(target);
      }
    }
  };
  auto& stored = frontends_[cidr_id];
  each_target(stored, [&](std::uint32_t target) {
    const auto it = fronts_of_.find(target);
    if (it != fronts_of_.end() && it->second.erase(cidr_id) != 0 &&
        it->second.empty()) {
      fronts_of_.erase(it);
    }
  });
  each_target(
      ports, [&](std::uint32_t target) { fronts_of_[target].insert(cidr_id); });
  stored = std::move(ports);
}

// Adds the classes of the Service's addresses or, for host ports, the node's.
void PolicySets::add_classes_of(const std::string& name,
                                std::set<std::uint32_t>& ids) const {
  const auto& with = classes_.with_service(name);
  ids.insert(with.begin(), with.end());
  const std::string node(node_of_host_ports(name));
  for (const auto& address : classes_.addresses_of(node)) {
    for (const std::uint32_t id : classes_.classes_of(address)) {
      if (!classes_.key(id).frontend.empty()) {
        ids.insert(id);
      }
    }
  }
}

// Updates the Services' addresses; returns those whose entries may have to
// change although the class is unchanged.
std::set<std::uint32_t> PolicySets::update_frontends() {
  const auto& changes = classes_.changes();
  std::set<std::uint32_t> dirty;
  for (const std::uint32_t id : changes.created) {
    if (!classes_.key(id).frontend.empty()) {
      dirty.insert(id);
    }
  }
  bool node_ports = services_.node_ports_changed();
  static const std::set<std::string> none;
  const auto& zoned = changes.rezoned.empty() ? none : services_.with_zones();
  for (const auto* names : {&services_.changes(), &changes.services, &zoned}) {
    for (const auto& name : *names) {
      add_classes_of(name, dirty);
      node_ports = node_ports || services_.with_node_ports().contains(name);
    }
  }
  if (node_ports) {
    dirty.insert(classes_.with_node_ports().begin(),
                 classes_.with_node_ports().end());
  }
  std::set<std::uint32_t> changed;
  for (const std::uint32_t id : dirty) {
    if (changes.retired.contains(id)) {
      continue;
    }
    auto now = resolve(id);
    note_lone(id, now);
    const auto* known = frontend(id);
    if (known == nullptr || *known != now.ports) {
      // Sets that depended only on the old backends have entries for it.
      set_frontend(id, std::move(now.ports));
      changed.insert(id);
    }
  }
  for (const std::uint32_t id : changes.retired) {
    if (frontend(id) != nullptr) {
      note_lone(id, {});
      set_frontend(id, {});
      frontends_.erase(id);
    }
  }
  return changed;
}

std::vector<PeerSelector> PolicySets::behind(const Rule& rule) const {
  std::set<PeerSelector> result;
  for (const auto& peer : rule.peers) {
    if (const auto* service = std::get_if<ServicePeer>(&peer)) {
      for (auto& selector : services_.expand(*service)) {
        result.insert(std::move(selector));
      }
    }
  }
  return {result.begin(), result.end()};
}

void PolicySets::refresh_services() {
  for (const auto& key : with_services_) {
    const auto it = policies_.find(key);
    if (it == policies_.end()) {
      continue;
    }
    for (const auto& spec : it->second->specs) {
      const bool stale =
          std::ranges::any_of(spec->rules, [&](const RuleRecord& record) {
            return record.behind != behind(*record.rule);
          });
      if (stale) {
        replace_rules(key, *spec);
      }
    }
  }
}

}  // namespace sluice::policy
