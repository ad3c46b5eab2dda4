// SPDX-License-Identifier: Apache-2.0
#include "lib/policy/services.h"

#include <algorithm>
#include <utility>

#include <netinet/in.h>

#include "lib/policy/identity.h"

namespace sluice::policy {
namespace {

std::string full_name(const std::string& ns, const std::string& name) {
  return ns + "/" + name;
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

void Services::host_ports_changed(const kube::Pod* before,
                                  const kube::Pod* after) {
  const auto hosted = [](const kube::Pod* pod) {
    const bool counts = pod != nullptr && !pod->finished &&
                        !pod->host_network && !pod->node.empty() &&
                        !pod->ips.empty() && !pod->host_ports.empty();
    return counts ? Hosted{.ips = pod->ips, .ports = pod->host_ports}
                  : Hosted{};
  };
  const auto then = hosted(before);
  const auto now = hosted(after);
  const bool moved =
      before != nullptr && after != nullptr && before->node != after->node;
  if (then == now && !moved) {
    return;
  }
  if (!then.ports.empty()) {
    const auto name = host_ports_of(before->node);
    services_[name].hosted.erase(full_name(before->ns, before->name));
    touch(name);
  }
  if (!now.ports.empty()) {
    const auto name = host_ports_of(after->node);
    services_[name].hosted[full_name(after->ns, after->name)] = now;
    touch(name);
  }
}

void Services::pod_changed(const kube::Pod* before, const kube::Pod* after) {
  const auto* known = before != nullptr ? before : after;
  if (known == nullptr) {
    return;
  }
  host_ports_changed(before, after);
  const auto it = derived_.find(known->ns);
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

// Additions are reported before removals, so that a remaining address always
// has an owner.
void Services::tell(const std::string& name, Record& record,
                    std::set<IpAddress> addresses,
                    std::set<IpAddress> backends) {
  for (const auto& address : addresses) {
    if (!record.addresses.contains(address)) {
      classes_.add_service(address, name);
      moved_.insert(address);
    }
  }
  for (const auto& address : record.addresses) {
    if (!addresses.contains(address)) {
      classes_.remove_service(address, name);
      moved_.insert(address);
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

std::set<Resolver> Services::resolvers_of(
    const Record& record, const std::vector<ServicePortView>& ports) {
  constexpr std::uint16_t kDnsPort = 53;
  std::set<Resolver> result;
  const auto& service = record.object;
  const auto label = service.labels.find("k8s-app");
  if (!record.known || service.ns != "kube-system" ||
      label == service.labels.end() || label->second != "kube-dns") {
    return result;
  }
  for (const auto& port : ports) {
    if (port.port != kDnsPort ||
        (port.protocol != IPPROTO_UDP && port.protocol != IPPROTO_TCP)) {
      continue;
    }
    for (const auto& address : service.cluster_ips) {
      result.insert(
          {.address = address, .port = port.port, .protocol = port.protocol});
    }
    port.visit_all([&](const Backend& backend) {
      result.insert({.address = backend.address,
                     .port = backend.port,
                     .protocol = port.protocol});
    });
  }
  return result;
}

void Services::count_resolvers(Record& record, std::set<Resolver> now) {
  for (const auto& resolver : now) {
    if (!record.resolvers.contains(resolver) && ++resolvers_[resolver] == 1) {
      resolver_changes_.insert(resolver);
    }
  }
  for (const auto& resolver : record.resolvers) {
    if (!now.contains(resolver) && --resolvers_[resolver] == 0) {
      resolvers_.erase(resolver);
      resolver_changes_.insert(resolver);
    }
  }
  record.resolvers = std::move(now);
}

std::vector<Resolver> Services::resolvers() const {
  std::vector<Resolver> result;
  result.reserve(resolvers_.size());
  for (const auto& [resolver, services] : resolvers_) {
    result.push_back(resolver);
  }
  return result;
}

void Services::update_one(const std::string& name, Record& record) {
  auto ports = record.hosted.empty() ? resolve(record) : resolve_hosted(record);
  count_resolvers(record, resolvers_of(record, ports));
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
    port.visit_all(
        [&](const Backend& backend) { backends.insert(backend.address); });
  }
  if (addresses.empty() && !node_ports && record.hosted.empty()) {
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
    index(name, record);
    changes_.insert(name);
    node_ports_changed_ = node_ports_changed_ || concerns_nodes;
  }
}

void Services::index(const std::string& name, const Record& record) {
  const bool zones =
      std::ranges::any_of(record.ports, [](const ServicePortView& port) {
        const auto has_zones = [](const Nearby& nearby) {
          return !nearby.by_zone.empty();
        };
        return std::ranges::any_of(port.cluster, has_zones) ||
               std::ranges::any_of(port.external, has_zones);
      });
  if (zones) {
    with_zones_.insert(name);
  } else {
    with_zones_.erase(name);
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
    if (!record.known && record.slices.empty() && record.hosted.empty()) {
      services_.erase(it);
    }
  }
  classes_.set_node_ports(!with_node_ports_.empty());
}

void Services::clear_changes() {
  changes_.clear();
  moved_.clear();
  resolver_changes_.clear();
  peers_changed_ = false;
  node_ports_changed_ = false;
}

const kube::Service* Services::find(const std::string& name) const {
  const auto it = services_.find(name);
  return it == services_.end() || !it->second.known ? nullptr
                                                    : &it->second.object;
}

const std::vector<ServicePortView>& Services::ports(
    const std::string& name) const {
  static const std::vector<ServicePortView> none;
  const auto it = services_.find(name);
  return it == services_.end() ? none : it->second.ports;
}

const std::set<IpAddress>& Services::addresses(const std::string& name) const {
  static const std::set<IpAddress> none;
  const auto it = services_.find(name);
  return it == services_.end() ? none : it->second.addresses;
}

Front Services::front(const std::string& name, const IpAddress& address) const {
  const auto it = services_.find(name);
  if (it == services_.end() || !it->second.known) {
    return Front::kNode;
  }
  const auto& own = it->second.object.cluster_ips;
  return std::ranges::find(own, address) != own.end() ? Front::kCluster
                                                      : Front::kExternal;
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
