// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>

#include "tests/reference/match.h"
#include "tests/reference/names.h"
#include "tests/reference/services.h"

namespace sluice::reference {
namespace {

constexpr std::string_view kNamespaceKey = "io.kubernetes.pod.namespace";
constexpr std::string_view kNamespaceLabels = "io.cilium.k8s.namespace.labels.";
constexpr std::string_view kClusterKey = "io.cilium.k8s.policy.cluster";
constexpr std::string_view kAccountKey = "io.cilium.k8s.policy.serviceaccount";

// ---- labels ---------------------------------------------------------------

// "k8s:x" and "any:x" mean the label x; other sources keep their prefix.
std::string bare(const std::string& key) {
  for (const std::string_view source : {"k8s:", "any:"}) {
    if (key.starts_with(source)) {
      return key.substr(source.size());
    }
  }
  return key;
}

Labels pod_labels(const World& world, const Pod& pod) {
  Labels result;
  for (const auto& [key, value] : pod.labels) {
    if (!key.starts_with("io.cilium.k8s")) {
      result[key] = value;
    }
  }
  for (const auto& [key, value] : world.namespace_labels(pod.ns)) {
    result[std::string(kNamespaceLabels) + key] = value;
  }
  result[std::string(kNamespaceKey)] = pod.ns;
  result[std::string(kAccountKey)] = pod.service_account;
  result[std::string(kClusterKey)] = "default";
  return result;
}

Labels peer_labels(const Question& question) {
  const Peer& peer = question.peer;
  if (peer.pod != nullptr) {
    return pod_labels(*question.world, *peer.pod);
  }
  Labels result;
  const auto mark = [&](bool is, const std::string& name) {
    if (is) {
      result["reserved:" + name] = "";
    }
  };
  mark(peer.host, "host");
  mark(peer.remote_node, "remote-node");
  mark(peer.api_server, "kube-apiserver");
  mark(peer.world(), "world");
  mark(peer.world() && !peer.v6, "world-ipv4");
  mark(peer.world() && peer.v6, "world-ipv6");
  mark(!peer.reserved.empty(), peer.reserved);
  return result;
}

// Every key that a selector names, as written.
std::vector<std::string> keys_of(const json& selector) {
  std::vector<std::string> result;
  for (const auto& item : get(selector, "matchLabels").items()) {
    result.push_back(item.key());
  }
  for (const auto& term : get(selector, "matchExpressions")) {
    result.push_back(text(get(term, "key")));
  }
  return result;
}

bool selects_labels(const json& selector, const Labels& labels) {
  const auto value_of = [&](const std::string& key) {
    const auto it = labels.find(bare(key));
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

bool selects_subject(const json& selector, const std::string& ns,
                     const Question& question) {
  const Labels labels = pod_labels(*question.world, *question.subject);
  if (ns.empty()) {
    return selects_labels(selector, labels);
  }
  if (question.subject->ns != ns) {
    return false;
  }
  // In a namespaced policy this one key is overwritten by the own namespace.
  json adjusted = selector;
  if (adjusted.contains("matchLabels") && adjusted["matchLabels"].is_object()) {
    adjusted["matchLabels"].erase("k8s:" + std::string(kNamespaceKey));
  }
  return selects_labels(adjusted, labels);
}

bool selects_peer(const json& selector, const std::string& ns,
                  const Question& question) {
  const Labels labels = peer_labels(question);
  const auto keys = keys_of(selector);
  const auto names = [&](auto predicate) {
    return std::ranges::any_of(keys, predicate);
  };
  if (!names([](const auto& key) { return key.starts_with("reserved:"); })) {
    // A namespaced policy adds its own namespace, unless the selector says
    // something of namespaces; a cluster-wide one adds that there is one.
    const bool scoped = names([](const auto& key) {
      return bare(key) == kNamespaceKey ||
             bare(key).starts_with(kNamespaceLabels);
    });
    const auto it = labels.find(std::string(kNamespaceKey));
    if (ns.empty() ? it == labels.end()
                   : !scoped && (it == labels.end() || it->second != ns)) {
      return false;
    }
    const bool clustered =
        names([](const auto& key) { return bare(key) == kClusterKey; });
    if (!clustered && !labels.contains(std::string(kClusterKey))) {
      return false;
    }
  }
  return selects_labels(selector, labels);
}

// ---- other peers ------------------------------------------------------------

bool is_entity(const std::string& entity, const Peer& peer) {
  if (entity == "all") {
    return true;
  }
  if (entity == "world") {
    return peer.world();
  }
  if (entity == "cluster") {
    return !peer.world() || peer.api_server;
  }
  if (entity == "host") {
    return peer.host;
  }
  if (entity == "remote-node") {
    return peer.remote_node;
  }
  if (entity == "kube-apiserver") {
    return peer.api_server;
  }
  return !peer.reserved.empty() && entity == peer.reserved;
}

bool in_group(const CidrGroup& group, const json& except, const Peer& peer) {
  return std::ranges::any_of(group.cidrs, [&](const IpPrefix& cidr) {
    return in_cidr(peer, to_string(cidr), except);
  });
}

bool in_cidr_rule(const json& rule, const Question& question) {
  const Peer& peer = question.peer;
  const json& except = get(rule, "except");
  if (!absent(get(rule, "cidr"))) {
    return in_cidr(peer, text(get(rule, "cidr")), except);
  }
  const auto& groups = question.world->groups;
  if (!absent(get(rule, "cidrGroupRef"))) {
    const auto it = groups.find(text(get(rule, "cidrGroupRef")));
    return it != groups.end() && in_group(it->second, except, peer);
  }
  return std::ranges::any_of(groups, [&](const auto& item) {
    return selects_labels(get(rule, "cidrGroupSelector"), item.second.labels) &&
           in_group(item.second, except, peer);
  });
}

bool has_name(const json& selector, const Peer& peer) {
  return peer.world() &&
         std::ranges::any_of(peer.names, [&](const LearnedName& learned) {
           return fqdn_matches(selector, learned.name);
         });
}

bool matches_peer(const json& rule, const std::string& ns, bool has_l4,
                  const Question& question) {
  const std::string way = question.egress ? "to" : "from";
  const Peer& peer = question.peer;
  bool named = false;
  bool found = false;
  for (const char* list :
       {"Endpoints", "Entities", "CIDR", "CIDRSet", "Services", "FQDNs"}) {
    const json& elements = get(rule, way + list);
    if (absent(elements)) {
      continue;
    }
    if (elements.empty()) {
      return false;  // an empty list makes the whole rule select nobody
    }
    named = true;
    const std::string_view kind = list;
    for (const auto& element : elements) {
      if (kind == "Endpoints") {
        found = found || selects_peer(element, ns, question);
      } else if (kind == "Entities") {
        found = found || is_entity(text(element), peer);
      } else if (kind == "Services") {
        found = found || is_behind(element, ns, *question.world, peer);
      } else if (kind == "FQDNs") {
        found = found || has_name(element, peer);
      } else if (!peer.world()) {
        continue;  // CIDRs mean addresses of no pod and no node
      } else if (kind == "CIDR") {
        found = found || in_cidr(peer, text(element), json());
      } else {
        found = found || in_cidr_rule(element, question);
      }
    }
  }
  return named ? found : has_l4;
}

// ---- ports and ICMP
// -----------------------------------------------------------

// As Go's strconv reads it with base 0: a leading zero means octal.
std::optional<int> to_number(const std::string& value) {
  int result = 0;
  const char* end = value.data() + value.size();
  const int base = value.size() > 1 && value.front() == '0' ? 8 : 10;
  const auto [stop, error] = std::from_chars(value.data(), end, result, base);
  return error == std::errc{} && stop == end ? std::optional(result)
                                             : std::nullopt;
}

bool in_port(const json& element, const Question& question) {
  const std::string protocol = text(get(element, "protocol"));
  const bool any = protocol.empty() || protocol == "ANY";
  const bool has_ports = question.protocol == 6 || question.protocol == 17 ||
                         question.protocol == 132;
  if (!has_ports || (!any && protocol_number(protocol) != question.protocol)) {
    return false;
  }
  const json& end_json = get(element, "endPort");
  const int end = end_json.is_number() ? end_json.get<int>() : 0;
  const std::string port = text(get(element, "port"));
  auto first = to_number(port);
  if (!first) {
    const auto found = find_port(question.destination(), port);
    if (!found || found->protocol != question.protocol) {
      return false;
    }
    first = found->number;
  } else if (*first == 0 && end == 0) {
    return true;
  }
  return question.port >= *first && question.port <= std::max(*first, end);
}

// Ports with DNS rules are not for SCTP.
bool in_ports(const json& element, const Question& question) {
  const bool dns = !get(get(element, "rules"), "dns").empty();
  return (!dns || question.protocol != 132) &&
         std::ranges::any_of(get(element, "ports"), [&](const json& port) {
           return in_port(port, question);
         });
}

struct IcmpName {
  std::string_view family;
  std::string_view name;
  int type;
};
constexpr std::array kIcmpNames{
    IcmpName{"IPv4", "EchoReply", 0},
    IcmpName{"IPv4", "DestinationUnreachable", 3},
    IcmpName{"IPv4", "Redirect", 5},
    IcmpName{"IPv4", "Echo", 8},
    IcmpName{"IPv4", "EchoRequest", 8},
    IcmpName{"IPv4", "RouterAdvertisement", 9},
    IcmpName{"IPv4", "RouterSelection", 10},
    IcmpName{"IPv4", "TimeExceeded", 11},
    IcmpName{"IPv4", "ParameterProblem", 12},
    IcmpName{"IPv4", "Timestamp", 13},
    IcmpName{"IPv4", "TimestampReply", 14},
    IcmpName{"IPv4", "Photuris", 40},
    IcmpName{"IPv6", "DestinationUnreachable", 1},
    IcmpName{"IPv6", "PacketTooBig", 2},
    IcmpName{"IPv6", "TimeExceeded", 3},
    IcmpName{"IPv6", "ParameterProblem", 4},
    IcmpName{"IPv6", "EchoRequest", 128},
    IcmpName{"IPv6", "EchoReply", 129},
    IcmpName{"IPv6", "MulticastListenerQuery", 130},
    IcmpName{"IPv6", "MulticastListenerReport", 131},
    IcmpName{"IPv6", "MulticastListenerDone", 132},
    IcmpName{"IPv6", "RouterSolicitation", 133},
    IcmpName{"IPv6", "RouterAdvertisement", 134},
    IcmpName{"IPv6", "NeighborSolicitation", 135},
    IcmpName{"IPv6", "NeighborAdvertisement", 136},
    IcmpName{"IPv6", "RedirectMessage", 137},
};

bool in_icmp(const json& field, const Question& question) {
  const std::string given = text(get(field, "family"));
  const std::string family = given.empty() ? "IPv4" : given;
  if (question.protocol != (family == "IPv6" ? 58 : 1)) {
    return false;
  }
  const json& type = get(field, "type");
  const int asked = question.port >> 8;
  if (type.is_number()) {
    return type.get<int>() == asked;
  }
  const std::string name = text(type);
  if (const auto number = to_number(name)) {
    return *number == asked;
  }
  return std::ranges::any_of(kIcmpNames, [&](const auto& i) {
    return i.family == family && i.name == name && i.type == asked;
  });
}

bool matches_l4(const json& rule, bool has_l4, const Question& question) {
  if (!has_l4) {
    return true;
  }
  for (const auto& element : get(rule, "toPorts")) {
    if (in_ports(element, question)) {
      return true;
    }
  }
  for (const auto& element : get(rule, "icmps")) {
    for (const auto& field : get(element, "fields")) {
      if (in_icmp(field, question)) {
        return true;
      }
    }
  }
  return false;
}

// Adds the DNS rules of an allow rule that matches.
void add_dns(const json& rule, const Question& question, Said& said) {
  if (!absent(get(rule, "toFQDNs"))) {
    return;
  }
  static const json none;
  const json& elements = get(rule, "toPorts");
  if (elements.empty()) {
    said.dns.push_back(&none);
  }
  for (const auto& element : elements) {
    const json& dns = get(get(element, "rules"), "dns");
    if (in_ports(element, question)) {
      said.dns.push_back(dns.empty() ? &none : &dns);
    }
  }
}

void ask_spec(const json& spec, const std::string& ns, const Question& question,
              Said& said) {
  const json& selector = get(spec, "endpointSelector");
  if (absent(selector) || !selects_subject(selector, ns, question)) {
    return;
  }
  const std::string way = question.egress ? "egress" : "ingress";
  bool any_rule = false;
  for (const bool deny : {true, false}) {
    for (const auto& rule : get(spec, deny ? way + "Deny" : way)) {
      any_rule = true;
      const bool has_l4 =
          !get(rule, "toPorts").empty() || !get(rule, "icmps").empty();
      if (matches_peer(rule, ns, has_l4, question) &&
          matches_l4(rule, has_l4, question)) {
        said.matches.push_back(deny ? Action::kDeny : Action::kAllow);
        if (!deny) {
          add_dns(rule, question, said);
        }
      }
    }
  }
  const json& wanted = get(get(spec, "enableDefaultDeny"), way);
  said.isolates = said.isolates || (any_rule && wanted != json(false));
}

}  // namespace

Said ask_cilium(const json& policy, const Question& question) {
  Said said;
  const bool namespaced = text(get(policy, "kind")) == "CiliumNetworkPolicy";
  std::string ns = text(get(get(policy, "metadata"), "namespace"));
  if (namespaced && ns.empty()) {
    ns = "default";
  }
  if (!namespaced) {
    ns.clear();
  }
  if (!absent(get(policy, "spec"))) {
    ask_spec(get(policy, "spec"), ns, question, said);
  }
  for (const auto& spec : get(policy, "specs")) {
    ask_spec(spec, ns, question, said);
  }
  return said;
}

}  // namespace sluice::reference
