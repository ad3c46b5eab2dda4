// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/services.h"

#include <algorithm>
#include <utility>

#include "lib/policy/identity.h"

namespace sluice::policy {
namespace {

std::string full_name(const std::string& ns, const std::string& name) {
  return ns + "/" + name;
}

bool selects(const kube::Labels& selector, const kube::Labels& labels) {
  return std::ranges::all_of(selector, [&](const auto& term) {
    const auto it = labels.find(term.first);
    return it != labels.end() && it->second == term.second;
  });
}

void make_unique(std::vector<Backend>& backends) {
  std::ranges::sort(backends);
  const auto repeated = std::ranges::unique(backends);
  backends.erase(repeated.begin(), repeated.end());
}

// A Service's selector as a peer selector: pods of its own namespace.
LabelSelector pods_behind(const kube::Service& service) {
  LabelSelector result;
  const auto add = [&](std::string_view key, const std::string& value) {
    result.requirements.push_back({.key = std::string(key),
                                   .op = Requirement::Op::kIn,
                                   .values = {value}});
  };
  add(kNamespaceKey, service.ns);
  for (const auto& [key, value] : service.selector) {
    add(key, value);
  }
  std::ranges::sort(result.requirements);
  return result;
}

std::uint16_t target_on(const kube::Pod& pod, const kube::ServicePort& port) {
  if (port.target_name.empty()) {
    return port.target_port;
  }
  const auto found =
      std::ranges::find_if(pod.ports, [&](const kube::ContainerPort& own) {
        return own.name == port.target_name && own.protocol == port.protocol;
      });
  return found == pod.ports.end() ? std::uint16_t{0} : found->port;
}

}  // namespace

void Services::touch(const std::string& name) {
  dirty_.insert(name);
}

void Services::set(const kube::Service& object) {
  const auto name = full_name(object.ns, object.name);
  auto& record = services_[name];
  if (record.known && record.object == object) {
    return;
  }
  peers_changed_ = peers_changed_ || !record.known ||
                   record.object.labels != object.labels ||
                   record.object.selector != object.selector;
  record.known = true;
  record.object = object;
  touch(name);
}

void Services::remove(const std::string& ns, const std::string& name) {
  const auto key = full_name(ns, name);
  const auto it = services_.find(key);
  if (it == services_.end() || !it->second.known) {
    return;
  }
  it->second.known = false;
  it->second.object = {};
  peers_changed_ = true;
  touch(key);
}

void Services::forget_slice(const std::string& key) {
  const auto known = slice_services_.find(key);
  if (known == slice_services_.end()) {
    return;
  }
  auto& record = services_[known->second];
  record.slices.erase(key);
  peers_changed_ = peers_changed_ || record.object.selector.empty();
  touch(known->second);
  slice_services_.erase(known);
}

void Services::set(const kube::EndpointSlice& object) {
  const auto key = full_name(object.ns, object.name);
  const auto service = full_name(object.ns, object.service);
  const auto known = slice_services_.find(key);
  if (known != slice_services_.end() && known->second != service) {
    forget_slice(key);
  }
  if (object.service.empty()) {
    return;
  }
  slice_services_[key] = service;
  auto& record = services_[service];
  auto& stored = record.slices[key];
  if (stored == object) {
    return;
  }
  stored = object;
  peers_changed_ = peers_changed_ || record.object.selector.empty();
  touch(service);
}

void Services::remove_slice(const std::string& ns, const std::string& name) {
  forget_slice(full_name(ns, name));
}

void Services::pod_changed(const kube::Pod* before, const kube::Pod* after) {
  const auto it = derived_.find(before != nullptr ? before->ns : after->ns);
  if (it == derived_.end()) {
    return;
  }
  for (const auto& name : it->second) {
    const auto& selector = services_.at(name).object.selector;
    if ((before != nullptr && selects(selector, before->labels)) ||
        (after != nullptr && selects(selector, after->labels))) {
      touch(name);
    }
  }
}

std::vector<Backend>& Services::Found::list_for(
    const kube::SliceEndpoint& endpoint) {
  if (endpoint.ready) {
    return ready;
  }
  return endpoint.serving && endpoint.terminating ? ending : others;
}

std::vector<Backend> Services::Found::take() {
  auto& best = !ready.empty() ? ready : ending;
  auto result = std::move(best.empty() ? others : best);
  make_unique(result);
  return result;
}

void Services::find_in_slice(const kube::EndpointSlice& slice,
                             const kube::ServicePort& port,
                             std::array<Found, 2>& found) {
  for (const auto& own : slice.ports) {
    if (own.name != port.name || own.protocol != port.protocol ||
        own.port == 0) {
      continue;
    }
    for (const auto& endpoint : slice.endpoints) {
      for (const auto& address : endpoint.addresses) {
        found[address.v6 ? 1 : 0].list_for(endpoint).push_back(
            {.address = address, .port = own.port});
      }
    }
  }
}

void Services::find_pods(const Record& record, const kube::ServicePort& port,
                         std::array<Found, 2>& found) const {
  for (const auto* pod : pods_of_(record.object.ns)) {
    const auto target = target_on(*pod, port);
    if (pod->finished || target == 0 ||
        !selects(record.object.selector, pod->labels)) {
      continue;
    }
    for (const auto& address : pod->ips) {
      found[address.v6 ? 1 : 0].ready.push_back(
          {.address = address, .port = target});
    }
  }
}

std::vector<ServicePortView> Services::resolve(const Record& record) const {
  std::vector<ServicePortView> result;
  if (!record.known || record.object.headless) {
    return result;
  }
  for (const auto& port : record.object.ports) {
    std::array<Found, 2> found;
    if (record.derived()) {
      find_pods(record, port, found);
    } else {
      for (const auto& [key, slice] : record.slices) {
        find_in_slice(slice, port, found);
      }
    }
    ServicePortView view{.protocol = port.protocol,
                         .port = port.port,
                         .node_port = port.node_port,
                         .backends = {}};
    for (std::size_t i = 0; i < found.size(); ++i) {
      view.backends[i] = found[i].take();
    }
    result.push_back(std::move(view));
  }
  return result;
}

// Additions are reported before removals, so that a remaining address always
// has an owner.
void Services::tell(const std::string& name, Record& record,
                    std::set<IpAddress> addresses,
                    std::set<IpAddress> backends) {
  for (const auto& address : addresses) {
    if (!record.addresses.contains(address)) {
      classes_.add_service(address, name);
    }
  }
  for (const auto& address : record.addresses) {
    if (!addresses.contains(address)) {
      classes_.remove_service(address, name);
    }
  }
  for (const auto& address : backends) {
    if (!record.backends.contains(address)) {
      classes_.add_backend(address, name);
    }
  }
  for (const auto& address : record.backends) {
    if (!backends.contains(address)) {
      classes_.remove_backend(address, name);
    }
  }
  record.addresses = std::move(addresses);
  record.backends = std::move(backends);
}

void Services::update_one(const std::string& name, Record& record) {
  auto ports = resolve(record);
  std::set<IpAddress> addresses;
  std::set<IpAddress> backends;
  bool node_ports = false;
  if (record.known && !record.object.headless) {
    for (const auto* list :
         {&record.object.cluster_ips, &record.object.external_ips,
          &record.object.load_balancer_ips}) {
      addresses.insert(list->begin(), list->end());
    }
  }
  for (const auto& port : ports) {
    node_ports = node_ports || port.node_port != 0;
    for (const auto& family : port.backends) {
      for (const auto& backend : family) {
        backends.insert(backend.address);
      }
    }
  }
  if (addresses.empty() && !node_ports) {
    ports.clear();
    backends.clear();
  }
  const bool concerns_nodes = node_ports || with_node_ports_.contains(name);
  if (node_ports) {
    with_node_ports_.insert(name);
  } else {
    with_node_ports_.erase(name);
  }
  tell(name, record, std::move(addresses), std::move(backends));
  if (ports != record.ports) {
    record.ports = std::move(ports);
    changes_.insert(name);
    node_ports_changed_ = node_ports_changed_ || concerns_nodes;
  }
}

void Services::update() {
  for (const auto& name : std::exchange(dirty_, {})) {
    const auto it = services_.find(name);
    if (it == services_.end()) {
      continue;
    }
    auto& record = it->second;
    const auto ns = name.substr(0, name.find('/'));
    if (record.derived()) {
      derived_[ns].insert(name);
    } else if (const auto known = derived_.find(ns); known != derived_.end()) {
      known->second.erase(name);
      if (known->second.empty()) {
        derived_.erase(known);
      }
    }
    update_one(name, record);
    if (!record.known && record.slices.empty()) {
      services_.erase(it);
    }
  }
  classes_.set_node_ports(!with_node_ports_.empty());
}

void Services::clear_changes() {
  changes_.clear();
  peers_changed_ = false;
  node_ports_changed_ = false;
}

const std::vector<ServicePortView>& Services::ports(
    const std::string& name) const {
  static const std::vector<ServicePortView> none;
  const auto it = services_.find(name);
  return it == services_.end() ? none : it->second.ports;
}

std::vector<PeerSelector> Services::expand(const ServicePeer& peer) const {
  std::set<PeerSelector> result;
  const auto add = [&](const Record& record) {
    if (!record.known) {
      return;
    }
    if (!record.object.selector.empty()) {
      result.insert(pods_behind(record.object));
      return;
    }
    for (const auto& [key, slice] : record.slices) {
      for (const auto& address : slice.ready_addresses()) {
        result.insert(
            CidrPeer{.cidr = {.address = address, .length = address.bits()},
                     .except = {},
                     .external_only = true});
      }
    }
  };
  if (!peer.selector) {
    const auto it = services_.find(full_name(peer.ns, peer.name));
    if (it != services_.end()) {
      add(it->second);
    }
  } else {
    for (const auto& [name, record] : services_) {
      if ((peer.ns.empty() || record.object.ns == peer.ns) &&
          matches(*peer.selector, record.object.labels)) {
        add(record);
      }
    }
  }
  return {result.begin(), result.end()};
}

}  // namespace sluice::policy
