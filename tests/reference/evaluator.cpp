// SPDX-License-Identifier: Apache-2.0
#include "tests/reference/evaluator.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "tests/reference/names.h"
#include "tests/reference/services.h"

namespace sluice::reference {
namespace {

using cli::Probe;
using cli::ProbeEnd;
using cli::Verdict;

std::string name_of(const json& object) {
  const std::string ns = text(get(get(object, "metadata"), "namespace"));
  const std::string name = text(get(get(object, "metadata"), "name"));
  return ns.empty() ? name : ns + "/" + name;
}

std::optional<IpAddress> of_family(const std::vector<IpAddress>& ips, bool v6) {
  const auto it =
      std::ranges::find_if(ips, [&](const auto& ip) { return ip.v6 == v6; });
  return it == ips.end() ? std::nullopt : std::optional(*it);
}

bool contains(const std::vector<IpAddress>& ips, const IpAddress& ip) {
  return std::ranges::find(ips, ip) != ips.end();
}

bool has(const std::vector<Action>& actions, Action wanted) {
  return std::ranges::find(actions, wanted) != actions.end();
}

// ClusterNetworkPolicies of one tier in their order: the first match of the
// first policy that has one.
std::optional<Action> ask_tier(const World& world, const std::string& tier,
                               const Question& question) {
  std::multimap<int, const json*> order;
  for (const auto& policy : world.policies) {
    const json& spec = get(*policy, "spec");
    if (text(get(*policy, "kind")) == "ClusterNetworkPolicy" &&
        text(get(spec, "tier")) == tier) {
      order.emplace(get(spec, "priority").get<int>(), policy.get());
    }
  }
  for (const auto& [priority, policy] : order) {
    const Said said = ask_cluster_policy(*policy, question);
    if (!said.matches.empty()) {
      return said.matches.front();
    }
  }
  return std::nullopt;
}

// What a policy of the normal tier says; nothing if it is of another one.
Said ask_policy(const json& policy, const Question& question) {
  const std::string kind = text(get(policy, "kind"));
  if (kind == "NetworkPolicy") {
    return ask_network_policy(policy, question);
  }
  return kind == "ClusterNetworkPolicy" ? Said() : ask_cilium(policy, question);
}

// NetworkPolicy, CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: a deny
// beats an allow, an allow beats default deny. Nothing: they do not decide.
std::optional<bool> ask_normal(const World& world, const Question& question) {
  Said all;
  for (const auto& policy : world.policies) {
    const Said said = ask_policy(*policy, question);
    all.isolates = all.isolates || said.isolates;
    all.matches.insert(all.matches.end(), said.matches.begin(),
                       said.matches.end());
  }
  if (has(all.matches, Action::kDeny)) {
    return false;
  }
  if (has(all.matches, Action::kAllow)) {
    return true;
  }
  // The pod's own node reaches it in spite of default deny.
  if (!question.egress && question.peer.host) {
    return true;
  }
  return all.isolates ? std::optional(false) : std::nullopt;
}

// A NetworkPolicy without its rules; nothing if its subject or its directions
// cannot be read.
std::optional<json> what_isolates(const json& object) {
  const json& spec = get(object, "spec");
  const json& pods = get(spec, "podSelector");
  const json& types = get(spec, "policyTypes");
  const json& egress = get(spec, "egress");
  const bool known = std::ranges::all_of(types, [](const json& type) {
    return type == json("Ingress") || type == json("Egress");
  });
  if (text(get(object, "kind")) != "NetworkPolicy" || !spec.is_object() ||
      !(absent(pods) || pods.is_object()) || !known) {
    return std::nullopt;
  }
  json result = object;
  if (types.empty()) {
    result["spec"]["policyTypes"] = {"Ingress"};
    if (!egress.empty()) {
      result["spec"]["policyTypes"].push_back("Egress");
    }
  }
  result["spec"].erase("ingress");
  result["spec"].erase("egress");
  return result;
}

}  // namespace

Evaluator::Evaluator(const std::vector<cli::ScenarioObject>& objects,
                     const std::set<std::string>& rejected,
                     const FoundAddresses& found) {
  for (const auto& object : objects) {
    const std::string kind = text(get(*object.object, "kind"));
    if (!kind.ends_with("Policy") ||
        !rejected.contains(name_of(*object.object))) {
      world_.add(object.object);
    } else if (const auto rest = what_isolates(*object.object)) {
      world_.add(std::make_shared<const json>(*rest));
    }
  }
  for (const auto& [node, ips] : found) {
    auto& all = world_.nodes[node];
    all.insert(all.end(), ips.begin(), ips.end());
  }
}

const Pod* Evaluator::subject_of(const ProbeEnd& end) const {
  if (end.kind != ProbeEnd::Kind::kPod) {
    return nullptr;
  }
  const auto it = world_.pods.find(end.name);
  if (it == world_.pods.end() || it->second.host_network ||
      it->second.finished || it->second.ips.empty()) {
    return nullptr;
  }
  return &it->second;
}

std::vector<bool> Evaluator::families(const Probe& probe) const {
  std::vector<bool> result;
  // What the recorded scenarios do without is not judged here.
  if (probe.allowed || probe.last_port != 0 || !probe.port_name.empty()) {
    return result;
  }
  for (const bool v6 : {false, true}) {
    const auto can = [&](const ProbeEnd& end) {
      switch (end.kind) {
        case ProbeEnd::Kind::kPod: {
          const auto it = world_.pods.find(end.name);
          return it != world_.pods.end() && of_family(it->second.ips, v6);
        }
        case ProbeEnd::Kind::kService:
          return false;
        case ProbeEnd::Kind::kIp:
          return end.ip.v6 == v6;
        case ProbeEnd::Kind::kEntity:
          return end.name != (v6 ? "world-ipv4" : "world-ipv6");
      }
      return false;
    };
    const bool wrong_icmp = probe.protocol == (v6 ? 1 : 58);
    if (can(probe.from) && can(probe.to) && !wrong_icmp) {
      result.push_back(v6);
    }
  }
  return result;
}

Peer Evaluator::peer_at(const IpAddress& ip, const Pod& subject) const {
  Peer peer{.ip = ip, .v6 = ip.v6};
  for (const auto& [name, pod] : world_.pods) {
    if (!pod.host_network && !pod.finished && contains(pod.ips, ip)) {
      peer.pod = &pod;
    }
  }
  for (const auto& [name, addresses] : world_.nodes) {
    if (peer.pod == nullptr && contains(addresses, ip)) {
      (name == subject.node ? peer.host : peer.remote_node) = true;
      peer.nodes.push_back(name);
    }
  }
  // A node is the API server by any of its addresses.
  peer.api_server =
      contains(world_.api_server, ip) ||
      std::ranges::any_of(peer.nodes, [&](const std::string& node) {
        return std::ranges::any_of(
            world_.nodes.at(node), [&](const IpAddress& address) {
              return contains(world_.api_server, address);
            });
      });
  return peer;
}

Peer Evaluator::peer_of(const ProbeEnd& end, const Pod& subject,
                        bool v6) const {
  Peer peer{.v6 = v6};
  if (end.kind == ProbeEnd::Kind::kIp) {
    return peer_at(end.ip, subject);
  }
  if (end.kind == ProbeEnd::Kind::kPod) {
    const Pod& pod = world_.pods.at(end.name);
    const auto ip = of_family(pod.ips, v6);
    if (ip) {
      peer = peer_at(*ip, subject);
    }
    if (pod.host_network) {  // a host-network pod is its node
      peer.pod = nullptr;
      peer.host = pod.node == subject.node;
      peer.remote_node = !peer.host;
      peer.nodes = {pod.node};
    }
    return peer;
  }
  if (end.name == "host") {
    const auto it = world_.nodes.find(subject.node);
    const auto ip =
        it == world_.nodes.end() ? std::nullopt : of_family(it->second, v6);
    if (ip) {
      return peer_at(*ip, subject);
    }
    peer.host = true;
    peer.nodes = {subject.node};
  } else if (end.name == "remote-node") {
    peer.remote_node = true;
  } else if (end.name == "kube-apiserver") {
    peer.remote_node = true;
    peer.api_server = true;
  } else if (end.name.starts_with("world")) {
    peer.whole_world = true;
  } else {
    peer.reserved = end.name;
  }
  return peer;
}

bool Evaluator::isolated(const Question& question) const {
  return std::ranges::any_of(world_.policies, [&](const auto& policy) {
    return ask_policy(*policy, question).isolates;
  });
}

bool Evaluator::allowed(const Question& question) const {
  if (question.peer.pod == question.subject) {
    return true;  // a pod always reaches itself
  }
  if (!question.egress || !question.peer.ip) {
    return allowed_plainly(question);
  }
  // A packet to a Service goes on to one of its backends: all must do.
  const auto backends =
      behind(world_, question.subject->node, *question.peer.ip,
             question.protocol, question.port);
  if (!backends) {
    return allowed_plainly(question);
  }
  if (backends->empty()) {
    return !isolated(question) && allowed_plainly(question);
  }
  return std::ranges::all_of(*backends, [&](const Behind& backend) {
    Question asked = question;
    asked.peer = peer_at(backend.address, *question.subject);
    asked.port = backend.port;
    if (contains(question.subject->ips, backend.address)) {
      return allowed_itself(asked);
    }
    if (!asked.peer.host && !asked.peer.remote_node) {
      return allowed_plainly(asked);
    }
    // Policy sets do not know on which node they are used.
    asked.peer.host = true;
    asked.peer.remote_node = false;
    const bool here = allowed_plainly(asked);
    asked.peer.host = false;
    asked.peer.remote_node = true;
    return here && allowed_plainly(asked);
  });
}

// Through a Service: ClusterNetworkPolicies hold, the others do not.
bool Evaluator::allowed_itself(const Question& question) const {
  const auto admin = ask_tier(world_, "Admin", question);
  if (admin && *admin != Action::kPass) {
    return *admin == Action::kAllow;
  }
  if (ask_normal(world_, question)) {
    return true;
  }
  const auto baseline = ask_tier(world_, "Baseline", question);
  return !baseline || *baseline != Action::kDeny;
}

bool Evaluator::allowed_plainly(const Question& question) const {
  const auto admin = ask_tier(world_, "Admin", question);
  if (admin && *admin != Action::kPass) {
    return *admin == Action::kAllow;
  }
  if (const auto normal = ask_normal(world_, question)) {
    return *normal;
  }
  const auto baseline = ask_tier(world_, "Baseline", question);
  return !baseline || *baseline != Action::kDeny;
}

Verdict Evaluator::side(const ProbeEnd& subject, const ProbeEnd& other,
                        bool egress, bool v6, const Probe& probe,
                        const std::vector<LearnedName>& names) const {
  const Pod* pod = subject_of(subject);
  if (pod == nullptr) {
    return Verdict::kNone;
  }
  Question question{.world = &world_,
                    .subject = pod,
                    .egress = egress,
                    .peer = peer_of(other, *pod, v6),
                    .protocol = probe.protocol,
                    .port = probe.port};
  question.peer.names = names;
  return allowed(question) ? Verdict::kAllow : Verdict::kDeny;
}

Evaluator::Answer Evaluator::judge(
    const Probe& probe, bool v6, const std::vector<LearnedName>& names) const {
  return {.egress = side(probe.from, probe.to, true, v6, probe, names),
          .ingress = side(probe.to, probe.from, false, v6, probe, {})};
}

// What allow rules for the peer say together.
Evaluator::Asking Evaluator::ask_plainly(const Question& question,
                                         const std::string& name) const {
  if (ask_tier(world_, "Admin", question) == Action::kAllow) {
    return Asking::kNoServer;
  }
  std::vector<const json*> rules;
  for (const auto& policy : world_.policies) {
    const Said said = ask_policy(*policy, question);
    rules.insert(rules.end(), said.dns.begin(), said.dns.end());
  }
  const auto unrestricted = [](const json* rule) { return rule->empty(); };
  if (std::ranges::all_of(rules, unrestricted)) {
    return Asking::kNoServer;
  }
  const auto patterns = [&](const auto& wanted) {
    return std::ranges::any_of(rules, [&](const json* rule) {
      return std::ranges::any_of(*rule, wanted);
    });
  };
  const bool all = patterns([](const json& selector) {
    const std::string pattern = text(get(selector, "matchPattern"));
    return !pattern.empty() &&
           pattern.find_first_not_of('*') == std::string::npos;
  });
  if (all || !isolated(question) || std::ranges::any_of(rules, unrestricted)) {
    return Asking::kEvery;
  }
  return patterns(
             [&](const json& selector) { return fqdn_matches(selector, name); })
             ? Asking::kYes
             : Asking::kNo;
}

std::optional<Evaluator::Asked> Evaluator::ask(const Probe& probe, bool v6,
                                               const std::string& name) const {
  const Pod* pod = subject_of(probe.from);
  if (pod == nullptr) {
    return std::nullopt;
  }
  const Question question{.world = &world_,
                          .subject = pod,
                          .egress = true,
                          .peer = peer_of(probe.to, *pod, v6),
                          .protocol = probe.protocol,
                          .port = probe.port};
  if (question.peer.pod == pod || !allowed(question)) {
    return std::nullopt;
  }
  const auto backends = question.peer.ip
                            ? behind(world_, pod->node, *question.peer.ip,
                                     question.protocol, question.port)
                            : std::nullopt;
  if (!backends) {
    return Asked{.asking = ask_plainly(question, name)};
  }
  Asked result{.asking = Asking::kYes, .service = true};
  for (const auto& backend : *backends) {
    Question asked = question;
    asked.peer = peer_at(backend.address, *pod);
    asked.port = backend.port;
    if (!contains(pod->ips, backend.address) &&
        ask_plainly(asked, name) == Asking::kNo) {
      result.asking = Asking::kNo;
    }
  }
  return result;
}

}  // namespace sluice::reference
