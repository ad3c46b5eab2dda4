// SPDX-License-Identifier: Apache-2.0
// Names and selectors behind which nothing is.
#include <algorithm>
#include <array>
#include <string_view>

#include "lib/base/protocol.h"
#include "lib/base/sequence.h"
#include "lib/base/suggestion.h"
#include "lib/lint/checks.h"
#include "lib/lint/covers.h"
#include "lib/policy/identity.h"

namespace sluice::lint {
namespace {

using policy::LabelSelector;
using policy::Requirement;
using policy::Rule;

constexpr std::string_view kMetadataName = "kubernetes.io/metadata.name";

// The label of the pod's namespace that the requirement is about, or empty.
std::string_view namespace_label(const Requirement& requirement) {
  const std::string_view key = requirement.key;
  return key.starts_with(policy::kNamespaceLabelPrefix)
             ? key.substr(policy::kNamespaceLabelPrefix.size())
             : std::string_view{};
}

bool names_namespaces(const Requirement& requirement) {
  return requirement.op == Requirement::Op::kIn &&
         (requirement.key == policy::kNamespaceKey ||
          namespace_label(requirement) == kMetadataName);
}

// Of every pod, or of its namespace alone.
bool is_about_namespaces(const Requirement& requirement) {
  return requirement.key == policy::kNamespaceKey ||
         requirement.key == policy::kClusterKey ||
         !namespace_label(requirement).empty();
}

bool is_about_namespaces(const LabelSelector& selector) {
  return std::ranges::all_of(
      selector.requirements,
      [](const Requirement& each) { return is_about_namespaces(each); });
}

// Has a label of another source than Kubernetes', of which the parser warns.
bool has_source(const LabelSelector& selector) {
  return std::ranges::any_of(
      selector.requirements,
      [](const Requirement& each) { return each.key.contains(':'); });
}

// As kubectl writes it.
std::string text_of(const Requirement& requirement) {
  const auto label = namespace_label(requirement);
  std::string key = label.empty() ? requirement.key : std::string(label);
  if (requirement.key == policy::kServiceAccountKey) {
    key = "service account";
  } else if (requirement.key == policy::kNamespaceKey) {
    key = "namespace";
  }
  const auto listed = " (" + joined(requirement.values, ",") + ")";
  switch (requirement.op) {
    case Requirement::Op::kIn:
      return requirement.values.size() == 1 ? key + "=" + requirement.values[0]
                                            : key + " in" + listed;
    case Requirement::Op::kNotIn:
      return key + " notin" + listed;
    case Requirement::Op::kExists:
      return key;
    case Requirement::Op::kDoesNotExist:
      return "!" + key;
  }
  return key;
}

// "app=web, tier=front", and where: " in namespace shop", " in a namespace with
// team=a", or nothing.
struct SelectorText {
  std::string pods;
  std::string where;
};
SelectorText text_of(const LabelSelector& selector) {
  std::vector<std::string> pods;
  std::vector<std::string> labels;
  std::string where;
  for (const auto& requirement : selector.requirements) {
    if (names_namespaces(requirement)) {
      where = (requirement.values.size() == 1 ? " in namespace "
                                              : " in the namespaces ") +
              joined(requirement.values);
    } else if (!is_about_namespaces(requirement)) {
      pods.push_back(text_of(requirement));
    } else if (!namespace_label(requirement).empty() ||
               requirement.op == Requirement::Op::kNotIn ||
               requirement.op == Requirement::Op::kDoesNotExist) {
      labels.push_back(text_of(requirement));
    }
  }
  if (where.empty() && !labels.empty()) {
    where = " in a namespace with " + joined(labels);
  }
  return {.pods = joined(pods), .where = where};
}

// A suggestion by did_you_mean(), for names so short that any two are near each
// other.
std::string like(std::string_view name, std::vector<std::string> known) {
  std::erase_if(known, [&](const std::string& other) {
    return name.empty() || !other.starts_with(name.front());
  });
  return did_you_mean(name, known);
}

// Ports that injected containers have, which no template shows.
bool is_injected(std::string_view port) {
  return port.starts_with("linkerd-") || port.starts_with("http-envoy");
}

bool has_port(const PodObject& pod, const policy::NamedPort& named) {
  return (pod.is_template && is_injected(named.name)) ||
         std::ranges::any_of(pod.pod.ports, [&](const auto& port) {
           return port.name == named.name &&
                  (named.protocol == 0 || named.protocol == port.protocol);
         });
}

}  // namespace

std::string Checks::suggest(const LabelSelector& selector) const {
  for (const auto& requirement : selector.requirements) {
    if (is_about_namespaces(requirement) ||
        requirement.op != Requirement::Op::kIn ||
        requirement.values.size() != 1) {
      continue;
    }
    const auto values = population_.values_of(requirement.key, selector);
    if (std::ranges::find(values, requirement.values[0]) == values.end()) {
      if (auto text = like(requirement.values[0], values); !text.empty()) {
        return text;
      }
    }
  }
  return {};
}

void Checks::check_namespace(const PolicyObject& object,
                             const std::string& path, const std::string& name) {
  if (population_.lacks_namespace(name)) {
    add(object, Code::kUnknownNamespace,
        path + ": there is no namespace \"" + name + "\"" +
            like(name, population_.namespace_names()));
  }
}

// True if one that it names is not there. The policy's own is told once, of
// its metadata.
bool Checks::check_namespaces(const PolicyObject& object,
                              const std::string& path,
                              const LabelSelector& selector) {
  bool missing = false;
  for (const auto& requirement : selector.requirements) {
    if (!names_namespaces(requirement)) {
      continue;
    }
    for (const auto& name : requirement.values) {
      missing = missing || population_.lacks_namespace(name);
      if (name != object.policy.key.ns) {
        check_namespace(object, path, name);
      }
    }
  }
  return missing;
}

void Checks::check_subject(const Place& place) {
  const auto& selector = place.spec->subject;
  const auto path = path_of(*place.spec);
  if (check_namespaces(*place.object, path, selector) ||
      is_about_namespaces(selector) || has_source(selector) ||
      are_disjoint(selector, selector) ||
      population_.selects(selector) != Truth::kNo) {
    return;
  }
  const auto text = text_of(selector);
  if (population_.selects_host_pod(selector)) {
    add(*place.object, Code::kSelectsNoPod,
        path + ": selects no pod: those that match " + text.pods + text.where +
            " are on the host's network, where no policy is enforced");
    return;
  }
  add(*place.object, Code::kSelectsNoPod,
      path + ": selects no pod: none matches " + text.pods + text.where +
          suggest(selector));
}

void Checks::check_labels(const PolicyObject& object, const Rule& rule,
                          const LabelSelector& selector) {
  if (check_namespaces(object, rule.path, selector) || has_source(selector) ||
      are_disjoint(selector, selector) ||
      population_.selects(selector) != Truth::kNo) {
    return;
  }
  const auto text = text_of(selector);
  std::string why;
  if (!population_.may_select_namespace(selector)) {
    why = "there is no pod" + text.where;
  } else if (text.pods.empty() ||
             std::ranges::any_of(
                 selector.requirements, [&](const Requirement& requirement) {
                   return population_.is_open_label(requirement);
                 })) {
    return;  // a namespace without pods, and clients to come
  } else if (population_.selects_host_pod(selector)) {
    why = "the pods that match " + text.pods + text.where +
          " are on the host's network and count as their nodes";
  } else {
    why = "no pod matches " + text.pods + text.where + suggest(selector);
  }
  add(object, Code::kPeerSelectsNothing,
      rule.path + ": a peer selects nothing: " + why);
}

// Peers that are objects of their own. They are missed only if the input has
// others of their kind.
void Checks::check_object_peer(const PolicyObject& object, const Rule& rule,
                               const policy::PeerSelector& peer) {
  std::vector<std::string> known;
  std::string wanted;
  std::string kind;
  if (const auto* group = std::get_if<policy::CidrGroupPeer>(&peer);
      group != nullptr && !group->selector) {
    kind = "CiliumCIDRGroup";
    wanted = group->name;
    for (const auto& [file, input] : inputs_) {
      for (const auto& each : input.cidr_groups) {
        known.push_back(each.name);
      }
    }
  } else if (const auto* service = std::get_if<policy::ServicePeer>(&peer);
             service != nullptr && !service->selector) {
    if (service->ns != object.policy.key.ns) {
      check_namespace(object, rule.path, service->ns);
    }
    kind = "Service";
    wanted = service->ns + "/" + service->name;
    for (const auto& [file, input] : inputs_) {
      for (const auto& each : input.services) {
        if (each.ns == service->ns) {
          known.push_back(each.ns + "/" + each.name);
        }
      }
    }
  }
  if (!known.empty() && std::ranges::find(known, wanted) == known.end()) {
    add(object, Code::kPeerSelectsNothing,
        rule.path + ": a peer selects nothing: there is no " + kind + " \"" +
            wanted + "\"" + like(wanted, known));
  }
}

void Checks::check_nodes(const PolicyObject& object, const Rule& rule,
                         const policy::NodePeer& peer) {
  bool some = false;
  bool found = false;
  for (const auto& [file, input] : inputs_) {
    for (const auto& node : input.nodes) {
      some = true;
      found = found || policy::matches(peer.selector, node.labels);
    }
  }
  if (some && !found) {
    add(object, Code::kPeerSelectsNothing,
        rule.path + ": a peer selects nothing: no node matches " +
            text_of(peer.selector).pods);
  }
}

void Checks::check_peers(const PolicyObject& object, const Rule& rule) {
  for (const auto& peer : rule.peers) {
    if (const auto* labels = std::get_if<LabelSelector>(&peer)) {
      check_labels(object, rule, *labels);
    } else if (const auto* nodes = std::get_if<policy::NodePeer>(&peer)) {
      check_nodes(object, rule, *nodes);
    } else {
      check_object_peer(object, rule, peer);
    }
  }
}

// A port by its name is one of the pods that the rule is about: the selected
// ones at ingress, and the peers at egress.
void Checks::check_ports(const Place& place, const Rule& rule) {
  std::vector<const PodObject*> pods;
  const auto take = [&](const LabelSelector& selector) {
    auto selection = population_.select(selector);
    pods.insert(pods.end(), selection.pods.begin(), selection.pods.end());
    return selection.complete;
  };
  const bool ingress = rule.direction == policy::Direction::kIngress;
  if (ingress) {
    if (!take(place.spec->subject)) {
      return;
    }
  } else {
    for (const auto& peer : rule.peers) {
      const auto* labels = std::get_if<LabelSelector>(&peer);
      if (labels == nullptr || !take(*labels)) {
        return;
      }
    }
  }
  for (const auto& named : rule.l4.named) {
    if (!pods.empty() && std::ranges::none_of(pods, [&](const PodObject* pod) {
          return has_port(*pod, named);
        })) {
      add(*place.object, Code::kNoSuchPort,
          rule.path + ": no " + (ingress ? "selected pod" : "peer") +
              " has a port named " + named.name +
              (named.protocol == 0
                   ? ""
                   : " of " + std::string(protocol_name(named.protocol))));
    }
  }
}

void Checks::check_selectors(const Place& place) {
  check_subject(place);
  for (const auto& rule : place.spec->rules) {
    check_peers(*place.object, rule);
    check_ports(place, rule);
  }
}

}  // namespace sluice::lint
