// SPDX-License-Identifier: Apache-2.0
#include "lib/lint/population.h"

#include <algorithm>
#include <array>
#include <optional>
#include <tuple>
#include <utility>

#include "lib/lint/kustomization.h"
#include "lib/policy/identity.h"

namespace sluice::lint {
namespace {

using policy::LabelSelector;
using policy::Requirement;

constexpr std::string_view kMetadataName = "kubernetes.io/metadata.name";
constexpr std::string_view kSystem = "kube-system";
// Namespaces that every cluster has, or makes for itself.
constexpr std::array kImplicit{std::string_view{"default"}, kSystem,
                               std::string_view{"kube-public"},
                               std::string_view{"kube-node-lease"}};

// Labels that controllers and injectors give to pods beside those of the
// template.
constexpr std::array kGivenLabels{
    std::string_view{"pod-template-hash"},
    std::string_view{"controller-revision-hash"},
    std::string_view{"pod-template-generation"},
    std::string_view{"statefulset.kubernetes.io/pod-name"},
    std::string_view{"apps.kubernetes.io/pod-index"},
    std::string_view{"job-name"},
    std::string_view{"controller-uid"},
    std::string_view{"batch.kubernetes.io/"},
    std::string_view{"rollouts-pod-template-hash"},
    std::string_view{"topology.kubernetes.io/"},
    std::string_view{"security.istio.io/"},
    std::string_view{"service.istio.io/"},
    std::string_view{"istio.io/"},
    std::string_view{"sidecar.istio.io/"},
    std::string_view{"linkerd.io/"},
    std::string_view{"deployment"},
    std::string_view{"deploymentconfig"},
};

// Groups whose objects make no pods, beside those that end in "k8s.io".
constexpr std::array kInertGroups{
    std::string_view{""},
    std::string_view{"apps"},
    std::string_view{"batch"},
    std::string_view{"autoscaling"},
    std::string_view{"policy"},
    std::string_view{"extensions"},
    std::string_view{"cilium.io"},
    std::string_view{"projectcalico.org"},
    std::string_view{"crd.projectcalico.org"},
    std::string_view{"crd.antrea.io"},
    std::string_view{"networking.k8s.aws"},
    std::string_view{"vpcresources.k8s.aws"},
    std::string_view{"security.istio.io"},
    std::string_view{"networking.istio.io"},
    std::string_view{"telemetry.istio.io"},
    std::string_view{"policy.linkerd.io"},
    std::string_view{"linkerd.io"},
    std::string_view{"cert-manager.io"},
    std::string_view{"external-secrets.io"},
    std::string_view{"bitnami.com"},
    std::string_view{"kyverno.io"},
    std::string_view{"keda.sh"},
    std::string_view{"traefik.io"},
    std::string_view{"traefik.containo.us"},
    std::string_view{"route.openshift.io"},
    std::string_view{"security.openshift.io"},
    std::string_view{"constraints.gatekeeper.sh"},
    std::string_view{"templates.gatekeeper.sh"},
};
constexpr std::array kInertMonitoring{
    std::string_view{"ServiceMonitor"}, std::string_view{"PodMonitor"},
    std::string_view{"PrometheusRule"}, std::string_view{"Probe"},
    std::string_view{"ScrapeConfig"},   std::string_view{"AlertmanagerConfig"}};
// Groups whose objects deploy others, into any namespace.
constexpr std::array kDeployers{
    std::string_view{"argoproj.io"}, std::string_view{"helm.toolkit.fluxcd.io"},
    std::string_view{"kustomize.toolkit.fluxcd.io"},
    std::string_view{"helm.cattle.io"}, std::string_view{"fleet.cattle.io"}};
// Kinds that stand among other objects because their pods cannot be read.
constexpr std::array kWorkloadKinds{
    std::string_view{"Deployment"},  std::string_view{"ReplicaSet"},
    std::string_view{"StatefulSet"}, std::string_view{"DaemonSet"},
    std::string_view{"Job"},         std::string_view{"CronJob"},
    std::string_view{"PodTemplate"}, std::string_view{"ReplicationController"}};

template <typename List>
bool contains(const List& list, std::string_view text) {
  return std::ranges::find(list, text) != list.end();
}

std::string_view group_of(std::string_view api_version) {
  const auto slash = api_version.find('/');
  return slash == std::string_view::npos ? std::string_view{}
                                         : api_version.substr(0, slash);
}

// True if the object may have pods of its own, which the input does not show.
bool may_make_pods(const Head& object) {
  const auto group = group_of(object.api_version);
  if (group == "monitoring.coreos.com") {
    return !contains(kInertMonitoring, object.kind);
  }
  const bool built_in =
      contains(kInertGroups, group) || group.ends_with(".k8s.io");
  return !built_in || contains(kWorkloadKinds, object.kind);
}

bool is_given_label(std::string_view key) {
  return std::ranges::any_of(kGivenLabels, [&](std::string_view given) {
    return given.ends_with('/') ? key.starts_with(given) : key == given;
  });
}

bool is_placed(const PodObject& pod) {
  return !pod.is_template && (!pod.pod.node.empty() || !pod.pod.ips.empty());
}

Truth truth(bool holds) {
  return holds ? Truth::kYes : Truth::kNo;
}

// Of a label whose value is known; nullopt: there is none.
Truth holds_for(const Requirement& requirement,
                const std::optional<std::string_view>& value) {
  const auto listed = [&] {
    return std::ranges::find(requirement.values, *value) !=
           requirement.values.end();
  };
  switch (requirement.op) {
    case Requirement::Op::kIn:
      return truth(value && listed());
    case Requirement::Op::kNotIn:
      return truth(!value || !listed());
    case Requirement::Op::kExists:
      return truth(value.has_value());
    case Requirement::Op::kDoesNotExist:
      return truth(!value);
  }
  return Truth::kMaybe;
}

std::optional<std::string_view> find(const kube::Labels& labels,
                                     std::string_view key) {
  const auto found = labels.find(key);
  return found == labels.end() ? std::nullopt
                               : std::optional<std::string_view>(found->second);
}

// The least of what `holds` says of each requirement.
template <typename Holds>
Truth all_hold(const LabelSelector& selector, const Holds& holds) {
  auto result = Truth::kYes;
  for (const auto& requirement : selector.requirements) {
    result = std::min(result, holds(requirement));
  }
  return result;
}

bool matches_reserved(const LabelSelector& selector) {
  for (int kind = 0; kind < policy::kReservedCount; ++kind) {
    if (policy::matches(selector, static_cast<policy::Reserved>(kind))) {
      return true;
    }
  }
  return false;
}

}  // namespace

Population::Population(const std::map<std::string, Input>& inputs) {
  add_spaces(inputs);
  add_pods(inputs);
  close_spaces(inputs);
}

void Population::add_spaces(const std::map<std::string, Input>& inputs) {
  for (const auto& [file, input] : inputs) {
    has_namespaces_ = has_namespaces_ || !input.namespaces.empty();
    for (const auto& object : input.namespaces) {
      auto& space = spaces_[object.name];
      space.labels = object.labels;
      space.labels_known = true;
    }
    for (const auto& object : input.policies) {
      if (!object.policy.key.ns.empty()) {
        spaces_[object.policy.key.ns];
      }
    }
    for (const auto& object : input.services) {
      spaces_[object.ns].inhabited = true;
    }
    for (const auto& object : input.pods) {
      spaces_[object.pod.ns].inhabited = true;
    }
    for (const auto& object : input.others) {
      if (!object.ns.empty() && !object.kind.ends_with("Policy")) {
        spaces_[object.ns].inhabited = true;
      }
    }
  }
  for (const auto name : kImplicit) {
    spaces_[std::string(name)];
  }
  for (auto& [name, space] : spaces_) {
    space.labels.try_emplace(std::string(kMetadataName), name);
  }
}

// Pods with the same labels are as one, except for their named ports.
void Population::add_pods(const std::map<std::string, Input>& inputs) {
  using Kind = std::tuple<std::string, kube::Labels, std::string, bool,
                          std::vector<std::string>>;
  std::set<Kind> seen;
  for (const auto& [file, input] : inputs) {
    for (const auto& object : input.pods) {
      placed_ = placed_ || is_placed(object);
      auto& space = spaces_[object.pod.ns];
      space.described = space.described || !object.passing;
      whole_ = whole_ || (is_placed(object) && object.pod.ns == kSystem &&
                          space.labels_known);
      std::vector<std::string> ports;
      ports.reserve(object.pod.ports.size());
      for (const auto& port : object.pod.ports) {
        ports.push_back(port.name);
      }
      if (seen.emplace(object.pod.ns, object.pod.labels,
                       object.pod.service_account, object.is_template, ports)
              .second) {
        (object.pod.host_network ? host_pods_ : pods_).push_back(&object);
      }
    }
  }
  // A list of a cluster's namespaces has all of them. Those that every cluster
  // has are often left out of it, and have no labels worth a rule.
  listed_ = has_namespaces_ && placed_;
  for (const auto name : kImplicit) {
    auto& space = spaces_[std::string(name)];
    space.labels_known = space.labels_known || listed_;
  }
}

// Who deploys pods that the input does not show leaves namespaces open.
void Population::close_spaces(const std::map<std::string, Input>& inputs) {
  all_namespaces_ = has_namespaces_;
  for (const auto& [file, input] : inputs) {
    if (!whole_ && is_kustomization(file)) {
      all_namespaces_ = false;
    }
    for (const auto& object : input.others) {
      if (whole_ || !may_make_pods(object)) {
        continue;
      }
      const bool deploys = contains(kDeployers, group_of(object.api_version));
      const bool anywhere = deploys || object.ns.empty();
      all_namespaces_ = all_namespaces_ && !deploys;
      for (auto& [name, space] : spaces_) {
        if (anywhere || name == object.ns) {
          space.described = false;
        }
      }
    }
  }
}

// What the namespace alone says of a requirement.
Truth Population::holds_in(const Requirement& requirement,
                           const std::string& ns, const Space& space) {
  const std::string_view key = requirement.key;
  if (key == policy::kNamespaceKey) {
    return holds_for(requirement, ns);
  }
  if (key == policy::kClusterKey) {
    return requirement.op == Requirement::Op::kExists ? Truth::kYes
                                                      : Truth::kMaybe;
  }
  if (key.starts_with(policy::kNamespaceLabelPrefix)) {
    const auto value =
        find(space.labels, key.substr(policy::kNamespaceLabelPrefix.size()));
    return value || space.labels_known ? holds_for(requirement, value)
                                       : Truth::kMaybe;
  }
  if (key.starts_with("reserved:")) {
    return holds_for(requirement, std::nullopt);
  }
  return Truth::kMaybe;
}

Truth Population::holds(const Requirement& requirement,
                        const PodObject& pod) const {
  const std::string_view key = requirement.key;
  if (key == policy::kServiceAccountKey) {
    return holds_for(requirement, pod.pod.service_account);
  }
  if (key == policy::kNamespaceKey ||
      key.starts_with(policy::kGeneratedPrefix) ||
      key.starts_with("reserved:")) {
    return holds_in(requirement, pod.pod.ns, spaces_.at(pod.pod.ns));
  }
  const auto value = find(pod.pod.labels, key);
  return !value && pod.is_template && is_given_label(key)
             ? Truth::kMaybe
             : holds_for(requirement, value);
}

Truth Population::selects(const LabelSelector& selector,
                          const PodObject& pod) const {
  return all_hold(selector, [&](const Requirement& requirement) {
    return holds(requirement, pod);
  });
}

Truth Population::selects(const LabelSelector& selector) const {
  auto result = Truth::kNo;
  for (const auto* pod : pods_) {
    result = std::max(result, selects(selector, *pod));
    if (result == Truth::kYes) {
      return result;
    }
  }
  if (matches_reserved(selector)) {
    return Truth::kYes;
  }
  return may_select_others(selector) ? Truth::kMaybe : result;
}

bool Population::is_open_label(const Requirement& requirement) const {
  return !placed_ && requirement.op == Requirement::Op::kIn &&
         requirement.key.ends_with("-client") &&
         requirement.values == std::vector<std::string>{"true"};
}

Population::Selection Population::select(const LabelSelector& selector) const {
  Selection result{.pods = {}, .complete = !may_select_others(selector)};
  for (const auto* pod : pods_) {
    const auto selected = selects(selector, *pod);
    if (selected == Truth::kYes) {
      result.pods.push_back(pod);
    }
    result.complete = result.complete && selected != Truth::kMaybe;
  }
  return result;
}

Truth Population::in_space(const LabelSelector& selector, const std::string& ns,
                           const Space& space) {
  return all_hold(selector, [&](const Requirement& requirement) {
    return holds_in(requirement, ns, space);
  });
}

bool Population::may_select_others(const LabelSelector& selector) const {
  if (whole_) {
    return false;
  }
  const bool in_known = std::ranges::any_of(spaces_, [&](const auto& named) {
    return !named.second.described &&
           in_space(selector, named.first, named.second) != Truth::kNo;
  });
  if (in_known || listed_) {
    return in_known;
  }
  // In a namespace of which the input says nothing.
  return std::ranges::none_of(
      selector.requirements, [&](const Requirement& requirement) {
        const std::string_view key = requirement.key;
        const bool name =
            key == policy::kNamespaceKey ||
            (key.starts_with(policy::kNamespaceLabelPrefix) &&
             key.substr(policy::kNamespaceLabelPrefix.size()) == kMetadataName);
        return name && requirement.op == Requirement::Op::kIn &&
               std::ranges::all_of(requirement.values,
                                   [&](const std::string& value) {
                                     return spaces_.contains(value);
                                   });
      });
}

bool Population::may_select_namespace(const LabelSelector& selector) const {
  return std::ranges::any_of(spaces_, [&](const auto& named) {
    return in_space(selector, named.first, named.second) != Truth::kNo;
  });
}

std::vector<std::string> Population::values_of(
    const std::string& label, const LabelSelector& selector) const {
  std::vector<std::string> values;
  for (const auto* pod : pods_) {
    const auto value = find(pod->pod.labels, label);
    if (value && in_space(selector, pod->pod.ns, spaces_.at(pod->pod.ns)) !=
                     Truth::kNo) {
      values.emplace_back(*value);
    }
  }
  return values;
}

bool Population::selects_host_pod(const LabelSelector& selector) const {
  return std::ranges::any_of(host_pods_, [&](const PodObject* pod) {
    return selects(selector, *pod) == Truth::kYes;
  });
}

bool Population::may_select_cluster_dns(const LabelSelector& selector) const {
  const std::string ns(kSystem);
  return in_space(selector, ns, spaces_.at(ns)) != Truth::kNo;
}

bool Population::lacks_namespace(const std::string& name) const {
  if (!all_namespaces_ || contains(kImplicit, name)) {
    return false;
  }
  const auto found = spaces_.find(name);
  return found == spaces_.end() ||
         (!found->second.labels_known && !found->second.inhabited);
}

std::vector<std::string> Population::namespace_names() const {
  std::vector<std::string> names;
  for (const auto& [name, space] : spaces_) {
    if (space.labels_known || contains(kImplicit, name)) {
      names.push_back(name);
    }
  }
  return names;
}

}  // namespace sluice::lint
