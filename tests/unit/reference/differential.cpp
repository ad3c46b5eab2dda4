// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/reference/differential.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>

#include "cli/scenario.h"
#include "lib/base/sequence.h"
#include "lib/dns/matcher.h"
#include "lib/kube/decode.h"
#include "lib/policy/model.h"
#include "lib/policy/parse.h"
#include "tests/reference/evaluator.h"
#include "tests/reference/generator_pools.h"

namespace sluice::testing {
namespace {

using cli::Probe;
using cli::ProbeEnd;
using cli::Verdict;
using nlohmann::json;
using policy::Direction;
using policy::Model;
using policy::Translator;

struct ReservedAddress {
  const char* entity;
  policy::Entity value;
  std::array<const char*, 2> ip;  // IPv4, IPv6
};
// In no prefix that the generator or the vectors name, but the whole world's.
constexpr std::array kReserved{
    ReservedAddress{
        "health", policy::Entity::kHealth, {"100.64.9.1", "fd11::1"}},
    ReservedAddress{"init", policy::Entity::kInit, {"100.64.9.2", "fd11::2"}},
    ReservedAddress{
        "unmanaged", policy::Entity::kUnmanaged, {"100.64.9.3", "fd11::3"}},
    ReservedAddress{
        "ingress", policy::Entity::kIngress, {"100.64.9.4", "fd11::4"}},
};

template <typename T>
Result<void> set_decoded(Translator& translator, Result<T> decoded) {
  if (!decoded) {
    return std::unexpected(decoded.error());
  }
  translator.set(*decoded);
  return {};
}

// The names that the address has for every pod: two of three have some.
std::vector<std::string> names_at(const IpAddress& address) {
  std::size_t bits = std::hash<IpAddress>{}(address);
  bits ^= bits >> 32U;
  std::vector<std::string> result;
  if (bits % 3 != 0) {
    result.push_back(reference::kNames[bits / 3 % reference::kNames.size()]);
  }
  if (bits % 3 == 2) {
    result.push_back(reference::kNames[bits / 64 % reference::kNames.size()]);
  }
  return result;
}

std::vector<dns::Name> as_names(const IpAddress& address) {
  std::vector<dns::Name> result;
  for (const auto& name : names_at(address)) {
    result.push_back(*dns::Name::from_text(name));
  }
  return result;
}

// The selectors of a state's names.
class NameIds {
 public:
  explicit NameIds(const State& state) {
    for (const auto& selector : state.names) {
      matcher_.add(selector.id,
                   *dns::NamePattern::match_pattern(selector.pattern));
    }
  }
  [[nodiscard]] std::vector<std::uint32_t> of(
      const std::vector<std::string>& names) const {
    std::vector<std::uint32_t> result;
    for (const auto& name : names) {
      const auto ids = matcher_.match(*dns::Name::from_text(name));
      result.insert(result.end(), ids.begin(), ids.end());
    }
    sort_unique(result);
    return result;
  }

 private:
  dns::Matcher matcher_;
};

// The kernel's view of every node, as the model of its lookup has it.
class Nodes {
 public:
  Nodes(const Translator& translator, const reference::World& world) {
    for (const auto& [name, pod] : world.pods) {
      if (!models_.contains(pod.node)) {
        add(pod.node, translator.snapshot(pod.node));
      }
    }
  }
  explicit Nodes(const std::map<std::string, State>& views) {
    for (const auto& [name, state] : views) {
      add(name, state);
    }
  }
  [[nodiscard]] const Model& of(const std::string& node) const {
    return models_.at(node);
  }
  [[nodiscard]] const NameIds& names_of(const std::string& node) const {
    return names_.at(node);
  }
  // The rules for names of the set do not fit: nothing of it is in force.
  [[nodiscard]] bool has_problem(std::uint32_t set) const {
    return problems_.contains(set);
  }

 private:
  void add(const std::string& node, const State& state) {
    models_.emplace(node, Model(state));
    names_.emplace(node, NameIds(state));
    for (const auto& set : state.sets) {
      if (!set.problem.empty()) {
        problems_.insert(set.id);
      }
    }
  }

  std::map<std::string, NameIds> names_;
  std::set<std::uint32_t> problems_;
  std::map<std::string, Model> models_;
};

std::optional<IpAddress> of_family(const std::vector<IpAddress>& ips, bool v6) {
  const auto it =
      std::ranges::find_if(ips, [&](const auto& ip) { return ip.v6 == v6; });
  return it == ips.end() ? std::nullopt : std::optional(*it);
}

std::optional<IpAddress> address_of(const ProbeEnd& end,
                                    const reference::Pod& subject,
                                    const reference::World& world, bool v6) {
  if (end.kind == ProbeEnd::Kind::kIp) {
    return end.ip;
  }
  if (end.kind == ProbeEnd::Kind::kPod) {
    return of_family(world.pods.at(end.name).ips, v6);
  }
  if (end.name == "host") {
    const auto it = world.nodes.find(subject.node);
    return it == world.nodes.end() ? std::nullopt : of_family(it->second, v6);
  }
  for (const auto& reserved : kReserved) {
    if (end.name == reserved.entity) {
      return parse_ip(reserved.ip[v6 ? 1 : 0]);
    }
  }
  return std::nullopt;
}

struct Side {
  const ProbeEnd& subject;
  const ProbeEnd& peer;
  Direction direction;
};

class Comparer {
 public:
  Comparer(const Translator& translator, const reference::World& world,
           Nodes nodes)
      : translator_(translator), world_(world), nodes_(std::move(nodes)) {}

  // Of the address that the sender's packet goes to.
  [[nodiscard]] std::vector<reference::LearnedName> names_of(const Probe& probe,
                                                             bool v6) const {
    std::vector<reference::LearnedName> result;
    const auto it = world_.pods.find(probe.from.name);
    if (probe.from.kind != ProbeEnd::Kind::kPod || it == world_.pods.end()) {
      return result;
    }
    if (const auto peer = address_of(probe.to, it->second, world_, v6)) {
      for (auto& name : names_at(*peer)) {
        result.push_back({.name = std::move(name)});
      }
    }
    return result;
  }

  // Empty if the model says what is expected.
  std::string check(const Side& side, const Probe& probe, bool v6,
                    Verdict expected) {
    const auto it = world_.pods.find(side.subject.name);
    if (side.subject.kind != ProbeEnd::Kind::kPod || it == world_.pods.end()) {
      return {};
    }
    const Model& model = nodes_.of(it->second.node);
    const EndpointEntry* endpoint = model.endpoint(side.subject.name);
    if ((endpoint == nullptr) != (expected == Verdict::kNone)) {
      return endpoint == nullptr ? "no endpoint" : "an endpoint, not expected";
    }
    const auto peer = address_of(side.peer, it->second, world_, v6);
    if (endpoint == nullptr || !peer) {
      return {};
    }
    if (nodes_.has_problem(endpoint->policy_set)) {
      return {};
    }
    ++checks;
    const auto names =
        side.direction == Direction::kEgress
            ? nodes_.names_of(it->second.node).of(names_at(*peer))
            : std::vector<std::uint32_t>();
    const auto got = model.lookup(*endpoint, side.direction, *peer,
                                  probe.protocol, probe.port, names);
    by_name += got.allowed && got.entry &&
                       (got.entry->key.cidr_id & SLUICE_CIDR_NAME) != 0
                   ? 1
                   : 0;
    if (got.allowed != (expected == Verdict::kAllow)) {
      return "model " + told(got.allowed) + " by rule " +
             std::to_string(got.rule) + ", expected " + to_string(expected);
    }
    if (got.rule >= SLUICE_RULE_FIRST && model.rule(got.rule) == nullptr) {
      return "rule " + std::to_string(got.rule) + " has no name";
    }
    return check_explanation(side, probe, *peer, got);
  }

  // Empty if the sender may ask the other end for the same names by DNS.
  std::string check_questions(const Probe& probe, bool v6,
                              const reference::Evaluator& evaluator) {
    const auto it = world_.pods.find(probe.from.name);
    if (probe.from.kind != ProbeEnd::Kind::kPod || it == world_.pods.end()) {
      return {};
    }
    const Model& model = nodes_.of(it->second.node);
    const auto* endpoint = model.endpoint(probe.from.name);
    const auto peer = address_of(probe.to, it->second, world_, v6);
    if (endpoint == nullptr || !peer ||
        nodes_.has_problem(endpoint->policy_set)) {
      return {};
    }
    const auto server = model.lookup(*endpoint, Direction::kEgress, *peer,
                                     probe.protocol, probe.port);
    for (const auto& name : reference::kNames) {
      const auto expected = evaluator.ask(probe, v6, name);
      if (!expected) {
        return {};
      }
      const auto got =
          asking(model, server, nodes_.names_of(it->second.node).of({name}));
      lists += got == Asking::kYes || got == Asking::kNo ? 1 : 0;
      // Of servers that differ, fewer may be asked than each allows.
      const bool fits = expected->service ? expected->asking != Asking::kNo ||
                                                got == Asking::kNo
                                          : expected->asking == got;
      if (!fits) {
        return "question for " + name + ": model says " +
               std::to_string(static_cast<int>(got)) + ", expected " +
               std::to_string(static_cast<int>(expected->asking));
      }
    }
    return {};
  }

  std::size_t checks = 0;
  std::size_t by_name = 0;  // packets that a name allowed
  std::size_t lists = 0;    // questions that a list allowed or refused

 private:
  using Asking = reference::Evaluator::Asking;

  static Asking asking(const Model& model, const Model::Verdict& server,
                       const std::vector<std::uint32_t>& names) {
    if (!server.entry || server.entry->value.flags == 0) {
      return Asking::kNoServer;
    }
    if (server.entry->value.flags == SLUICE_DNS_ANY) {
      return Asking::kEvery;
    }
    return model.may_ask(*server.entry, names) != nullptr ? Asking::kYes
                                                          : Asking::kNo;
  }

  static std::string told(bool allowed) { return allowed ? "allow" : "deny"; }

  std::string check_explanation(const Side& side, const Probe& probe,
                                const IpAddress& peer,
                                const Model::Verdict& got) {
    const auto answer = translator_.explain({.subject = side.subject.name,
                                             .direction = side.direction,
                                             .peer = peer,
                                             .protocol = probe.protocol,
                                             .port = probe.port,
                                             .names = as_names(peer)});
    if (!answer) {
      return "explain knows no such endpoint";
    }
    const auto same_entry = [&] {
      return answer->entry.has_value() == got.entry.has_value() &&
             (!got.entry || *answer->entry == *got.entry);
    };
    if (answer->reason != got.reason || !same_entry()) {
      return "explain gives another reason or entry than the model";
    }
    if (answer->allowed != got.allowed || answer->rule != got.rule) {
      return "explain says " + told(answer->allowed) + " by rule " +
             std::to_string(answer->rule) + ", model " + told(got.allowed) +
             " by rule " + std::to_string(got.rule);
    }
    return {};
  }

  const Translator& translator_;
  const reference::World& world_;
  Nodes nodes_;
};

void compare_probe(const Probe& probe, std::size_t index,
                   const reference::Evaluator& evaluator, Comparer& comparer,
                   Comparison& result) {
  for (const bool v6 : evaluator.families(probe)) {
    const auto expected =
        evaluator.judge(probe, v6, comparer.names_of(probe, v6));
    if (const auto how = comparer.check_questions(probe, v6, evaluator);
        !how.empty() && !result.disagrees_at) {
      result.disagrees_at = index;
      result.how = to_string(probe) + (v6 ? ", IPv6, " : ", IPv4, ") + how;
    }
    const std::array sides{
        std::pair(Side{probe.from, probe.to, Direction::kEgress},
                  expected.egress),
        std::pair(Side{probe.to, probe.from, Direction::kIngress},
                  expected.ingress)};
    for (const auto& [side, verdict] : sides) {
      const std::string how = comparer.check(side, probe, v6, verdict);
      if (!how.empty() && !result.disagrees_at) {
        result.disagrees_at = index;
        result.how =
            to_string(probe) + (v6 ? ", IPv6, " : ", IPv4, ") +
            (side.direction == Direction::kEgress ? "egress: " : "ingress: ") +
            how;
      }
    }
  }
}

Comparison compare_all(const cli::Scenario& scenario,
                       const reference::Evaluator& evaluator,
                       Comparer comparer) {
  Comparison result;
  for (std::size_t i = 0; i < scenario.probes.size(); ++i) {
    compare_probe(scenario.probes[i], i, evaluator, comparer, result);
  }
  result.checks = comparer.checks;
  result.by_name = comparer.by_name;
  result.lists = comparer.lists;
  return result;
}

bool still_disagrees(const json& scenario) {
  const auto result = compare(scenario);
  return result && result->disagrees_at.has_value();
}

// Takes away whatever members and elements are not needed, from the whole to
// the parts. `part` is a place in `scenario`.
void shrink_part(json& scenario, const json::json_pointer& part) {
  json& value = scenario[part];
  if (!value.is_structured()) {
    return;
  }
  std::vector<std::string> keys;
  for (std::size_t i = value.size(); value.is_array() && i > 0; --i) {
    keys.push_back(std::to_string(i - 1));
  }
  for (const auto& item : value.items()) {
    if (value.is_object()) {
      keys.push_back(item.key());
    }
  }
  for (const auto& key : keys) {
    json smaller = scenario;
    json& container = smaller[part];
    container.is_array() ? container.erase(std::stoul(key))
                         : static_cast<void>(container.erase(key));
    if (still_disagrees(smaller)) {
      scenario = std::move(smaller);
    } else {
      shrink_part(scenario, part / key);
    }
  }
}

const char* text(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAllow:
      return "allow";
    case Verdict::kDeny:
      return "deny";
    case Verdict::kNone:
      break;
  }
  return "none";
}

}  // namespace

Result<void> set_object(Translator& translator, const json& object) {
  const std::string version = object.value("apiVersion", "");
  const std::string kind = object.value("kind", "");
  if (kind == "Namespace") {
    return set_decoded(translator, kube::decode_namespace(object));
  }
  if (kind == "Node") {
    return set_decoded(translator, kube::decode_node(object));
  }
  if (kind == "Pod") {
    return set_decoded(translator, kube::decode_pod(object));
  }
  if (kind == "Service") {
    return set_decoded(translator, kube::decode_service(object));
  }
  if (kind == "EndpointSlice") {
    return set_decoded(translator, kube::decode_endpoint_slice(object));
  }
  if (kind == "CiliumCIDRGroup") {
    return set_decoded(translator, kube::decode_cidr_group(object));
  }
  if (policy::is_policy(version, kind)) {
    return set_decoded(translator, policy::parse_policy(object));
  }
  return fail("unknown kind " + kind);
}

void remove_object(Translator& translator, const json& object) {
  const std::string kind = object.value("kind", "");
  const std::string name = object["metadata"].value("name", "");
  const std::string ns = object["metadata"].value("namespace", "");
  if (kind == "Namespace") {
    translator.remove_namespace(name);
  } else if (kind == "Node") {
    translator.remove_node(name);
  } else if (kind == "Pod") {
    translator.remove_pod(ns, name);
  } else if (kind == "Service") {
    translator.remove_service(ns, name);
  } else if (kind == "EndpointSlice") {
    translator.remove_endpoint_slice(ns, name);
  } else if (kind == "CiliumCIDRGroup") {
    translator.remove_cidr_group(name);
  } else {
    translator.remove_policy({.kind = kind, .ns = ns, .name = name});
  }
}

void set_reserved(Translator& translator) {
  for (const auto& reserved : kReserved) {
    for (const char* ip : reserved.ip) {
      translator.set_reserved(*parse_ip(ip), reserved.value);
    }
  }
}

Result<Comparison> compare(const json& json_scenario) {
  const auto scenario = cli::parse_scenario(json_scenario, "generated", 1);
  if (!scenario) {
    return std::unexpected(scenario.error());
  }
  Translator translator;
  set_reserved(translator);
  for (const auto& object : scenario->objects) {
    if (auto set = set_object(translator, *object.object); !set) {
      return std::unexpected(set.error());
    }
  }
  const reference::Evaluator evaluator(scenario->objects);
  return compare_all(*scenario, evaluator,
                     Comparer(translator, evaluator.world(),
                              Nodes(translator, evaluator.world())));
}

Result<Comparison> compare(const json& json_scenario,
                           const Translator& translator,
                           const std::map<std::string, State>& views) {
  const auto scenario = cli::parse_scenario(json_scenario, "generated", 1);
  if (!scenario) {
    return std::unexpected(scenario.error());
  }
  const reference::Evaluator evaluator(scenario->objects);
  return compare_all(*scenario, evaluator,
                     Comparer(translator, evaluator.world(), Nodes(views)));
}

json shrink(json scenario) {
  const auto first = compare(scenario);
  if (!first || !first->disagrees_at) {
    return scenario;
  }
  scenario["probes"] = json::array({scenario["probes"][*first->disagrees_at]});
  shrink_part(scenario, json::json_pointer("/objects"));
  const auto parsed = cli::parse_scenario(scenario, "generated", 1);
  if (parsed) {
    const reference::Evaluator evaluator(parsed->objects);
    for (const bool v6 : evaluator.families(parsed->probes[0])) {
      const auto answer = evaluator.judge(parsed->probes[0], v6);
      scenario["probes"][0]["egress"] = text(answer.egress);
      scenario["probes"][0]["ingress"] = text(answer.ingress);
    }
  }
  return scenario;
}

std::uint64_t number_from_environment(const char* name,
                                      std::uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

}  // namespace sluice::testing
