// SPDX-License-Identifier: Apache-2.0
#include "cli/testbed.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "cli/scenario_nodes.h"
#include "lib/base/protocol.h"
#include "lib/explain/text.h"
#include "lib/kube/decode.h"
#include "lib/kube/manifest.h"

namespace sluice::cli {
namespace {

using nlohmann::json;

constexpr const char* kSource = "scenario";

void collect_cidrs(const json& value, std::vector<IpPrefix>& into) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (const auto prefix = parse_prefix(text)) {
      if (prefix->length > 0) {
        into.push_back(*prefix);
      }
    } else if (const auto ip = parse_ip(text)) {
      into.push_back(make_prefix(*ip, ip->bits()));
    }
  } else if (value.is_structured()) {
    for (const auto& member : value) {
      collect_cidrs(member, into);
    }
  }
}

constexpr int kTriesMax = 20000;

// True if a host somewhere could have the address.
bool is_unicast(const IpAddress& address) {
  const auto first = address.bytes[0];
  if (address.v6) {
    return first > 0 && first < 0xfe;
  }
  return first > 0 && first != 127 && first != 169 && first < 224;
}

// True for "path.to[0].field: what"; a key in quotes may contain any character.
bool names_a_field(const std::string& reason) {
  bool quoted = false;
  for (std::size_t i = 0; i < reason.size(); ++i) {
    if (reason[i] == '"') {
      quoted = !quoted;
    } else if (!quoted && (reason[i] == ':' || reason[i] == ' ')) {
      return reason[i] == ':' && i > 0;
    }
  }
  return false;
}

std::optional<policy::Entity> reserved_entity(const std::string& name) {
  using policy::Entity;
  if (name == "health") {
    return Entity::kHealth;
  }
  if (name == "init") {
    return Entity::kInit;
  }
  if (name == "unmanaged") {
    return Entity::kUnmanaged;
  }
  if (name == "ingress") {
    return Entity::kIngress;
  }
  return std::nullopt;
}

std::pair<std::string, std::string> split_name(const std::string& name) {
  const auto slash = name.find('/');
  return slash == std::string::npos
             ? std::pair{std::string{}, name}
             : std::pair{name.substr(0, slash), name.substr(slash + 1)};
}

}  // namespace

Testbed::Testbed(const Scenario& scenario) {
  load(scenario);
  check_objects(scenario);
  for (const auto& node : cluster_.store().nodes()) {
    nodes_[node.name] = node.ips;
  }
  for (const auto& [node, ips] : found_addresses(scenario.objects)) {
    cluster_.translator().set_node_addresses(node, ips);
    for (const auto& ip : ips) {
      taken_.push_back(host_prefix(ip));
    }
  }
  add_entities(scenario);
}

void Testbed::load(const Scenario& scenario) {
  kube::Manifest manifest;
  for (const auto& item : scenario.objects) {
    const auto& object = *item.object;
    collect_cidrs(object, taken_);
    const auto text = [&](const json& from, const char* name) {
      const auto found = from.find(name);
      return found != from.end() && found->is_string()
                 ? found->get<std::string>()
                 : std::string{};
    };
    kube::ManifestObject entry{.object = item.object,
                               .file = kSource,
                               .line = item.line,
                               .api_version = text(object, "apiVersion"),
                               .kind = text(object, "kind"),
                               .ns = {},
                               .name = {}};
    if (const auto meta = object.find("metadata");
        meta != object.end() && meta->is_object()) {
      entry.ns = text(*meta, "namespace");
      entry.name = text(*meta, "name");
    }
    if (entry.kind == "Service") {
      if (auto service = kube::decode_service(object)) {
        services_[service->ns + "/" + service->name] = std::move(*service);
      }
    }
    manifest.objects.push_back(std::move(entry));
  }
  for (const auto& probe : scenario.probes) {
    for (const auto* end : {&probe.from, &probe.to}) {
      if (end->kind == ProbeEnd::Kind::kIp) {
        taken_.push_back(make_prefix(end->ip, end->ip.bits()));
      }
    }
  }
  for (const auto& step : scenario.steps) {
    if (const auto* answer = std::get_if<ScenarioStep::Answer>(&step.what)) {
      for (const auto& address : answer->addresses) {
        taken_.push_back(host_prefix(address));
      }
    }
  }
  cluster_.store().set_source(kSource, manifest);
  cluster_.store().commit();
}

void Testbed::check_objects(const Scenario& scenario) {
  std::map<std::string, bool> must_fail;  // false: may
  for (const auto& invalid : scenario.invalid) {
    must_fail[invalid.object] = !invalid.may_pass;
  }
  std::set<std::string> rejected;
  for (const auto& problem : cluster_.store().problems()) {
    const auto slash = problem.object.find('/');
    const auto name =
        slash == std::string::npos ? "" : problem.object.substr(slash + 1);
    if (problem.severity == op::Severity::kNote) {
      notes_.push_back(problem.object + " " + problem.message);
      if (must_fail.contains(name)) {
        rejected.insert(name);
      }
      continue;
    }
    if (!must_fail.contains(name)) {
      object_failures_.push_back(problem.object +
                                 " rejected: " + problem.message);
    } else if (must_fail[name] && !names_a_field(problem.message)) {
      object_failures_.push_back(
          problem.object +
          " rejected without naming a field: " + problem.message);
    }
    rejected.insert(name);
  }
  for (const auto& [name, must] : must_fail) {
    if (must && !rejected.contains(name)) {
      object_failures_.push_back(name + " accepted, must be rejected");
    }
  }
}

// Addresses are spread over the whole space by a generator with a fixed seed.
// If the CIDRs leave no room, an address inside one of them is used.
IpAddress Testbed::unused(bool v6) {
  IpAddress address;
  for (int i = 0; i < kTriesMax; ++i) {
    address = {};
    address.v6 = v6;
    for (int byte = 0; byte < (v6 ? 16 : 4); ++byte) {
      address.bytes[static_cast<std::size_t>(byte)] =
          static_cast<std::uint8_t>(random_() >> 8);
    }
    const bool taken = !is_unicast(address) ||
                       std::ranges::any_of(taken_, [&](const IpPrefix& prefix) {
                         return prefix.contains(address);
                       });
    if (!taken) {
      break;
    }
  }
  taken_.push_back(make_prefix(address, address.bits()));
  return address;
}

void Testbed::add_node(const std::string& name, const Addresses& ips) {
  nodes_[name] = ips;
  cluster_.translator().set(kube::Node{.name = name, .labels = {}, .ips = ips});
}

void Testbed::add_entity(const std::string& entity) {
  if (entity == "host" || entities_.contains(entity)) {
    return;
  }
  auto& ips = entities_[entity];
  ips = unused_pair();
  if (entity == "world-ipv4") {
    ips.pop_back();
  } else if (entity == "world-ipv6") {
    ips.erase(ips.begin());
  } else if (entity == "remote-node") {
    add_node("sluice-test-remote-node", ips);
  } else if (entity == "kube-apiserver") {
    add_node("sluice-test-apiserver", ips);
    cluster_.translator().set(
        kube::EndpointSlice{.ns = "default",
                            .name = "sluice-test-apiserver",
                            .service = "kubernetes",
                            .ports = {},
                            .endpoints = {{.addresses = ips}}});
  } else if (const auto reserved = reserved_entity(entity)) {
    for (const auto& ip : ips) {
      cluster_.translator().set_reserved(ip, reserved);
    }
  }
}

void Testbed::add_entities(const Scenario& scenario) {
  for (const auto& probe : scenario.probes) {
    for (const auto& [end, other] :
         {std::pair{&probe.from, &probe.to}, {&probe.to, &probe.from}}) {
      if (end->kind != ProbeEnd::Kind::kEntity) {
        continue;
      }
      add_entity(end->name);
      const auto [ns, name] = split_name(other->name);
      const auto* pod = cluster_.store().pod(ns, name);
      if (end->name == "host" && pod != nullptr &&
          !nodes_.contains(pod->node)) {
        add_node(pod->node, unused_pair());
      }
    }
  }
}

const policy::Model& Testbed::model(const std::string& node) {
  auto found = models_.find(node);
  if (found == models_.end()) {
    found =
        models_
            .emplace(node, policy::Model(cluster_.translator().snapshot(node)))
            .first;
  }
  return found->second;
}

std::vector<std::uint32_t> Testbed::selectors(
    const std::string& node, const std::vector<dns::Name>& names) {
  const auto [found, added] = matchers_.try_emplace(node);
  if (added) {
    for (const auto& selector : cluster_.translator().snapshot(node).names) {
      const auto pattern = dns::NamePattern::match_pattern(selector.pattern);
      if (pattern) {
        found->second.add(selector.id, *pattern);
      }
    }
  }
  std::vector<std::uint32_t> result;
  for (const auto& name : names) {
    const auto ids = found->second.match(name);
    result.insert(result.end(), ids.begin(), ids.end());
  }
  return result;
}

bool Testbed::is_resolver(const IpAddress& address, std::uint16_t port,
                          std::uint8_t protocol) const {
  const auto all = cluster_.translator().snapshot({}).resolvers;
  return std::ranges::binary_search(
      all, Resolver{.address = address, .port = port, .protocol = protocol});
}

const kube::Pod* Testbed::pod(const ProbeEnd& end) const {
  if (end.kind != ProbeEnd::Kind::kPod) {
    return nullptr;
  }
  const auto [ns, name] = split_name(end.name);
  return cluster_.store().pod(ns, name);
}

bool Testbed::knows(const ProbeEnd& end) const {
  switch (end.kind) {
    case ProbeEnd::Kind::kPod:
      return pod(end) != nullptr;
    case ProbeEnd::Kind::kService:
      return services_.contains(end.name);
    case ProbeEnd::Kind::kIp:
    case ProbeEnd::Kind::kEntity:
      break;
  }
  return true;
}

bool Testbed::has_policy(const ProbeEnd& end) {
  const auto* found = pod(end);
  return found != nullptr && model(found->node).endpoint(end.name) != nullptr;
}

Result<Probe> Testbed::with_port_number(const Probe& probe) const {
  Probe result = probe;
  if (probe.port_name.empty()) {
    return result;
  }
  const auto take = [&](const auto& ports) {
    for (const auto& port : ports) {
      if (port.name == probe.port_name &&
          (probe.any_protocol || port.protocol == probe.protocol)) {
        result.protocol = port.protocol;
        result.port = port.port;
        result.port_name.clear();
        return;
      }
    }
  };
  if (const auto* found = pod(probe.to)) {
    take(found->ports);
  } else if (const auto service = services_.find(probe.to.name);
             service != services_.end()) {
    take(service->second.ports);
  }
  if (!result.port_name.empty()) {
    return fail(probe.to.name + " has no port with the name " +
                probe.port_name);
  }
  return result;
}

std::vector<Probe> Testbed::backends(const Probe& probe, bool v6) const {
  std::vector<Probe> result;
  const auto* from = pod(probe.from);
  for (const auto& front : services_.at(probe.to.name).cluster_ips) {
    if (front.v6 != v6) {
      continue;
    }
    const auto& translator = cluster_.translator();
    const auto found =
        translator.destination(front, probe.protocol, probe.port,
                               from == nullptr ? std::string() : from->node);
    for (const auto& [address, port] : found.backends) {
      Probe one = probe;
      one.to = {.kind = ProbeEnd::Kind::kIp,
                .name = to_string(address),
                .ip = address};
      const auto name = translator.name_of(address);
      if (translator.pod(name) != nullptr) {
        one.to = {.kind = ProbeEnd::Kind::kPod, .name = name, .ip = {}};
      }
      one.port = port;
      result.push_back(std::move(one));
    }
  }
  return result;
}

Testbed::Addresses Testbed::addresses(const ProbeEnd& end,
                                      const std::string& node) {
  switch (end.kind) {
    case ProbeEnd::Kind::kIp:
      return {end.ip};
    case ProbeEnd::Kind::kEntity:
      return end.name == "host" ? nodes_[node] : entities_[end.name];
    case ProbeEnd::Kind::kService: {
      const auto found = services_.find(end.name);
      return found == services_.end() ? Addresses{} : found->second.cluster_ips;
    }
    case ProbeEnd::Kind::kPod:
      break;
  }
  const auto* found = pod(end);
  return found == nullptr ? Addresses{} : found->ips;
}

std::vector<Question> Testbed::questions(const Probe& probe,
                                         policy::Direction direction) {
  const bool egress = direction == policy::Direction::kEgress;
  const auto& subject = egress ? probe.from : probe.to;
  const auto& peer = egress ? probe.to : probe.from;
  const auto* found = pod(subject);
  if (found == nullptr) {
    return {};
  }
  std::vector<Question> all;
  std::vector<Question> fitting;
  for (const auto& own : found->ips) {
    for (const auto& other : addresses(peer, found->node)) {
      if (own.v6 != other.v6) {
        continue;
      }
      all.push_back({.subject = subject.name,
                     .node = found->node,
                     .direction = direction,
                     .own = own,
                     .peer = other,
                     .protocol = probe.protocol,
                     .port = probe.port});
      if (!is_icmp(probe.protocol) || own.v6 == (probe.protocol == 58)) {
        fitting.push_back(all.back());
      }
    }
  }
  return fitting.empty() ? all : fitting;
}

}  // namespace sluice::cli
