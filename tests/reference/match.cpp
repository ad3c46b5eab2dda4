// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/match.h"

#include <algorithm>

namespace sluice::reference {

bool holds(const std::string& op, const json& values,
           const std::optional<std::string>& value) {
  const bool listed =
      value && std::ranges::find(values, json(*value)) != values.end();
  if (op == "In") {
    return listed;
  }
  if (op == "NotIn") {
    return !listed;
  }
  if (op == "Exists") {
    return value.has_value();
  }
  return op == "DoesNotExist" && !value.has_value();
}

bool selects(const json& selector, const Labels& labels) {
  const auto value_of = [&](const std::string& key) {
    const auto it = labels.find(key);
    return it == labels.end() ? std::nullopt : std::optional(it->second);
  };
  for (const auto& item : get(selector, "matchLabels").items()) {
    if (value_of(item.key()) != text(item.value())) {
      return false;
    }
  }
  return std::ranges::all_of(
      get(selector, "matchExpressions"), [&](const json& term) {
        return holds(text(get(term, "operator")), get(term, "values"),
                     value_of(text(get(term, "key"))));
      });
}

bool in_prefix(const Peer& peer, const IpPrefix& prefix) {
  if (peer.ip) {
    return prefix.contains(*peer.ip);
  }
  return peer.whole_world && prefix.length == 0 && prefix.address.v6 == peer.v6;
}

namespace {

std::optional<IpPrefix> to_prefix(const std::string& cidr) {
  if (const auto ip = parse_ip(cidr)) {
    return make_prefix(*ip, ip->bits());
  }
  return parse_prefix(cidr);
}

}  // namespace

bool in_cidr(const Peer& peer, const std::string& cidr, const json& except) {
  const auto prefix = to_prefix(cidr);
  if (!prefix || !in_prefix(peer, *prefix)) {
    return false;
  }
  return std::ranges::none_of(except, [&](const json& hole) {
    const auto hole_prefix = to_prefix(text(hole));
    return hole_prefix && in_prefix(peer, *hole_prefix);
  });
}

std::optional<ContainerPort> find_port(const Pod* pod,
                                       const std::string& name) {
  if (pod == nullptr) {
    return std::nullopt;
  }
  std::optional<ContainerPort> result;
  for (const auto& port : pod->ports) {
    if (port.name == lower(name)) {
      result = port;
    }
  }
  return result;
}

}  // namespace sluice::reference
