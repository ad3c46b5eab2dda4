// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <string_view>

#include "tests/reference/match.h"
#include "tests/reference/names.h"

namespace sluice::reference {
namespace {

// ---- NetworkPolicy
// ------------------------------------------------------------

constexpr std::string_view kDigits = "0123456789";

// "010.0.0.08/08" as "10.0.0.8/8"; groups of IPv6 stay as they are.
std::string without_zeros(const std::string& cidr) {
  std::string result;
  for (std::size_t i = 0; i < cidr.size(); ++i) {
    const auto end = std::min(cidr.find_first_not_of(kDigits, i), cidr.size());
    const bool decimal =
        end == cidr.size() || cidr[end] == '.' || cidr[end] == '/';
    const bool first =
        result.empty() || std::string_view(":./").contains(result.back());
    const bool last = end == i + 1;
    if (cidr[i] != '0' || !decimal || !first || last) {
      result += cidr[i];
    }
  }
  return result;
}

// An ipBlock as API servers before 1.36 read it: numbers are decimal whatever
// zeros they begin with, and an IPv4 prefix may be in IPv6 notation.
std::string as_stored(const std::string& cidr) {
  if (cidr.find('.') == std::string::npos) {
    return cidr;
  }
  std::string plain = without_zeros(cidr);
  const std::string head = plain.substr(0, plain.find_last_of(':') + 1);
  const auto slash = plain.find('/');
  if ((head != "::ffff:" && head != "::FFFF:") || slash == std::string::npos) {
    return plain;
  }
  const int length = std::stoi(plain.substr(slash + 1));
  return length < 96 ? plain
                     : plain.substr(head.size(), slash - head.size()) + "/" +
                           std::to_string(length - 96);
}

bool np_peer(const json& peer, const std::string& ns,
             const Question& question) {
  const json& block = get(peer, "ipBlock");
  if (!absent(block)) {
    json except = json::array();
    for (const auto& hole : get(block, "except")) {
      except.push_back(as_stored(text(hole)));
    }
    return in_cidr(question.peer, as_stored(text(get(block, "cidr"))), except);
  }
  const Pod* pod = question.peer.pod;
  if (pod == nullptr) {
    return false;
  }
  const json& namespaces = get(peer, "namespaceSelector");
  const bool in_namespace =
      absent(namespaces)
          ? pod->ns == ns
          : selects(namespaces, question.world->namespace_labels(pod->ns));
  const json& pods = get(peer, "podSelector");
  return in_namespace && (absent(pods) || selects(pods, pod->labels));
}

bool np_port(const json& element, const Question& question) {
  const auto protocol = protocol_number(text(get(element, "protocol")));
  if (question.protocol != protocol) {
    return false;
  }
  const json& port = get(element, "port");
  if (absent(port)) {
    return true;
  }
  if (port.is_string()) {
    // Here the protocol is part of what is looked up, not a check afterwards.
    const Pod* pod = question.destination();
    const std::string name = lower(text(port));
    return pod != nullptr && std::ranges::any_of(pod->ports, [&](auto& p) {
             return p.name == name && p.protocol == protocol &&
                    p.number == question.port;
           });
  }
  const json& end = get(element, "endPort");
  const int first = port.get<int>();
  const int last = absent(end) ? first : end.get<int>();
  return question.port >= first && question.port <= last;
}

// An absent and an empty list both mean "any".
template <typename Matches>
bool any_of_or_all(const json& list, Matches matches) {
  return list.empty() || std::ranges::any_of(list, matches);
}

// ---- ClusterNetworkPolicy
// -------------------------------------------------------

bool selects_pod(const json& selector, const Pod& pod, const World& world) {
  const json& namespaces = get(selector, "namespaces");
  if (!absent(namespaces)) {
    return selects(namespaces, world.namespace_labels(pod.ns));
  }
  const json& pods = get(selector, "pods");
  return !absent(pods) &&
         selects(get(pods, "namespaceSelector"),
                 world.namespace_labels(pod.ns)) &&
         selects(get(pods, "podSelector"), pod.labels);
}

// A kind of peer that we do not support.
bool not_understood(const json& peer) {
  return absent(get(peer, "networks")) && absent(get(peer, "namespaces")) &&
         absent(get(peer, "pods")) && absent(get(peer, "nodes")) &&
         absent(get(peer, "domainNames"));
}

bool cluster_peer(const json& peer, const Question& question) {
  const json& networks = get(peer, "networks");
  if (!absent(networks)) {
    return std::ranges::any_of(networks, [&](const json& cidr) {
      return in_cidr(question.peer, text(cidr), json());
    });
  }
  const json& nodes = get(peer, "nodes");
  if (!absent(nodes)) {
    const auto& known = question.world->node_labels;
    return std::ranges::any_of(
        question.peer.nodes, [&](const std::string& node) {
          const auto it = known.find(node);
          return it != known.end() && selects(nodes, it->second);
        });
  }
  const json& domains = get(peer, "domainNames");
  if (!absent(domains)) {
    return std::ranges::any_of(domains, [&](const json& domain) {
      return std::ranges::any_of(
          question.peer.names, [&](const LearnedName& learned) {
            return learned.by_resolver &&
                   domain_matches(text(domain), learned.name);
          });
    });
  }
  return question.peer.pod != nullptr &&
         selects_pod(peer, *question.peer.pod, *question.world);
}

bool cluster_protocol(const json& protocol, const Question& question) {
  const json& name = get(protocol, "destinationNamedPort");
  if (!absent(name)) {
    const auto found = find_port(question.destination(), text(name));
    return found && found->protocol == question.protocol &&
           found->number == question.port;
  }
  for (const char* kind : {"tcp", "udp", "sctp"}) {
    const json& element = get(protocol, kind);
    std::string upper = kind;
    std::ranges::transform(upper, upper.begin(), [](char c) {
      return static_cast<char>(c - 'a' + 'A');
    });
    if (absent(element) || protocol_number(upper) != question.protocol) {
      continue;
    }
    const json& port = get(element, "destinationPort");
    if (absent(port)) {
      return true;
    }
    if (!absent(get(port, "number"))) {
      return get(port, "number") == json(question.port);
    }
    const json& range = get(port, "range");
    return question.port >= get(range, "start").get<int>() &&
           question.port <= get(range, "end").get<int>();
  }
  return false;
}

Action action_of(const std::string& name) {
  if (name == "Accept") {
    return Action::kAllow;
  }
  return name == "Deny" ? Action::kDeny : Action::kPass;
}

}  // namespace

Said ask_network_policy(const json& policy, const Question& question) {
  Said said;
  std::string ns = text(get(get(policy, "metadata"), "namespace"));
  if (ns.empty()) {
    ns = "default";
  }
  const json& spec = get(policy, "spec");
  const json& pods = get(spec, "podSelector");
  if (question.subject->ns != ns ||
      (!absent(pods) && !selects(pods, question.subject->labels))) {
    return said;
  }
  const char* type = question.egress ? "Egress" : "Ingress";
  const json& rules = get(spec, question.egress ? "egress" : "ingress");
  const json& types = get(spec, "policyTypes");
  // Defaulting: ingress always, egress if there is a rule for it.
  const bool applies =
      types.empty() ? !question.egress || !rules.empty()
                    : std::ranges::find(types, json(type)) != types.end();
  if (!applies) {
    return said;
  }
  said.isolates = true;
  for (const auto& rule : rules) {
    if (any_of_or_all(
            get(rule, question.egress ? "to" : "from"),
            [&](const json& p) { return np_peer(p, ns, question); }) &&
        any_of_or_all(get(rule, "ports"),
                      [&](const json& p) { return np_port(p, question); })) {
      static const json none;
      said.matches.push_back(Action::kAllow);
      said.dns.push_back(&none);
    }
  }
  return said;
}

Said ask_cluster_policy(const json& policy, const Question& question) {
  Said said;
  const json& spec = get(policy, "spec");
  if (!selects_pod(get(spec, "subject"), *question.subject, *question.world)) {
    return said;
  }
  for (const auto& rule : get(spec, question.egress ? "egress" : "ingress")) {
    const json& peers = get(rule, question.egress ? "to" : "from");
    const Action action = action_of(text(get(rule, "action")));
    if (std::ranges::any_of(peers, not_understood)) {
      // Fail closed: it accepts nothing, or denies everything.
      if (action != Action::kAllow) {
        said.matches.push_back(Action::kDeny);
      }
      continue;
    }
    if (std::ranges::any_of(
            peers, [&](const json& p) { return cluster_peer(p, question); }) &&
        any_of_or_all(get(rule, "protocols"), [&](const json& p) {
          return cluster_protocol(p, question);
        })) {
      said.matches.push_back(action);
    }
  }
  return said;
}

}  // namespace sluice::reference
