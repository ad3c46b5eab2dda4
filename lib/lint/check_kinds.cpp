// SPDX-License-Identifier: Apache-2.0
// Kinds that Sluice does not read: misspelt ones, and other engines'.
#include <algorithm>
#include <array>
#include <string_view>

#include "lib/base/suggestion.h"
#include "lib/lint/checks.h"

namespace sluice::lint {
namespace {

struct Kind {
  std::string_view api_version;
  std::string_view kind;
};
// What Sluice reads, in the version that is written today.
constexpr std::array kRead{
    Kind{"networking.k8s.io/v1", "NetworkPolicy"},
    Kind{"cilium.io/v2", "CiliumNetworkPolicy"},
    Kind{"cilium.io/v2", "CiliumClusterwideNetworkPolicy"},
    Kind{"cilium.io/v2", "CiliumCIDRGroup"},
    Kind{"policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy"},
    Kind{"v1", "Namespace"},
    Kind{"v1", "Node"},
    Kind{"v1", "Pod"},
    Kind{"v1", "Service"},
};
// The pods of these are read.
constexpr std::array kWorkloads{
    Kind{"apps/v1", "Deployment"},  Kind{"apps/v1", "DaemonSet"},
    Kind{"apps/v1", "StatefulSet"}, Kind{"apps/v1", "ReplicaSet"},
    Kind{"batch/v1", "Job"},        Kind{"batch/v1", "CronJob"},
};

// Kinds of these groups that are no misspelt names of the above.
struct Group {
  std::string_view group;
  std::string_view kinds;  // separated and surrounded by spaces
};
constexpr std::array kKnown{
    Group{"",
          " Binding ComponentStatus ConfigMap Endpoints Event LimitRange List "
          "Namespace Node PersistentVolume PersistentVolumeClaim Pod "
          "PodTemplate ReplicationController ResourceQuota Secret Service "
          "ServiceAccount ConfigMapList EndpointsList EventList "
          "NamespaceList NodeList PodList SecretList ServiceList "},
    Group{"networking.k8s.io",
          " NetworkPolicy NetworkPolicyList Ingress IngressList IngressClass "
          "IngressClassList IPAddress ServiceCIDR "},
    Group{"apps",
          " Deployment DaemonSet StatefulSet ReplicaSet ControllerRevision "
          "DeploymentList DaemonSetList StatefulSetList ReplicaSetList "},
    Group{"batch", " Job JobList CronJob CronJobList "},
    Group{"policy.networking.k8s.io",
          " ClusterNetworkPolicy ClusterNetworkPolicyList AdminNetworkPolicy "
          "BaselineAdminNetworkPolicy "},
    Group{"cilium.io",
          " CiliumNetworkPolicy CiliumNetworkPolicyList CiliumCIDRGroup "
          "CiliumClusterwideNetworkPolicy CiliumClusterwideNetworkPolicyList "
          "CiliumEndpoint CiliumEndpointSlice CiliumIdentity CiliumNode "
          "CiliumNodeConfig CiliumExternalWorkload CiliumLocalRedirectPolicy "
          "CiliumEgressGatewayPolicy CiliumEnvoyConfig "
          "CiliumClusterwideEnvoyConfig CiliumLoadBalancerIPPool "
          "CiliumL2AnnouncementPolicy CiliumPodIPPool CiliumGatewayClassConfig "
          "CiliumBGPPeeringPolicy CiliumBGPClusterConfig CiliumBGPPeerConfig "
          "CiliumBGPAdvertisement CiliumBGPNodeConfig "
          "CiliumBGPNodeConfigOverride CiliumVTEPConfig "
          "CiliumDatapathPlugin "},
};

struct Other {
  std::string_view group;
  std::string_view kinds;  // separated and surrounded by spaces
  std::string_view engine;
};
constexpr std::array kOthers{
    Other{"crd.projectcalico.org",
          " NetworkPolicy GlobalNetworkPolicy StagedNetworkPolicy "
          "StagedGlobalNetworkPolicy StagedKubernetesNetworkPolicy ",
          "Calico"},
    Other{"projectcalico.org",
          " NetworkPolicy GlobalNetworkPolicy StagedNetworkPolicy "
          "StagedGlobalNetworkPolicy StagedKubernetesNetworkPolicy ",
          "Calico"},
    Other{"crd.antrea.io", " NetworkPolicy ClusterNetworkPolicy ", "Antrea"},
    Other{"security.antrea.tanzu.vmware.com",
          " NetworkPolicy ClusterNetworkPolicy ", "Antrea"},
    Other{"networking.k8s.aws",
          " ApplicationNetworkPolicy ClusterNetworkPolicy PolicyEndpoint "
          "ClusterPolicyEndpoint ",
          "the AWS network policy agent"},
    Other{"vpcresources.k8s.aws", " SecurityGroupPolicy ",
          "the Amazon VPC CNI"},
    Other{"security.istio.io", " AuthorizationPolicy ", "Istio"},
    Other{"policy.linkerd.io", " AuthorizationPolicy ServerAuthorization ",
          "Linkerd"},
    Other{"networking.gke.io", " FQDNNetworkPolicy ", "GKE"},
    Other{"network.openshift.io", " EgressNetworkPolicy ", "OpenShift SDN"},
    Other{"k8s.ovn.org", " EgressFirewall ", "OVN-Kubernetes"},
    Other{"kubeovn.io", " SecurityGroup ", "Kube-OVN"},
    Other{"neuvector.com", " NvSecurityRule NvClusterSecurityRule ",
          "NeuVector"},
    Other{"policy.networking.k8s.io",
          " AdminNetworkPolicy BaselineAdminNetworkPolicy ", ""},
};

bool has_word(std::string_view words, std::string_view word) {
  return !word.empty() && !word.contains(' ') &&
         words.contains(" " + std::string(word) + " ");
}

std::string_view group_of(std::string_view api_version) {
  const auto slash = api_version.find('/');
  return slash == std::string_view::npos ? std::string_view{}
                                         : api_version.substr(0, slash);
}

std::string in_quotes(std::string_view text) {
  return '"' + std::string(text) + '"';
}

bool is_policy_kind(std::string_view kind) {
  return kind.ends_with("NetworkPolicy") || kind == "CiliumCIDRGroup";
}

// One of the groups whose kinds Sluice reads, or a misspelt one.
bool is_nearly_read(std::string_view group) {
  std::vector<std::string> groups;
  for (const auto& known : kKnown) {
    if (known.group == group) {
      return true;
    }
    if (!known.group.empty()) {
      groups.emplace_back(known.group);
    }
  }
  return group == "extensions" || !did_you_mean(group, groups).empty();
}

std::string other_engine(std::string_view group, const Head& object) {
  for (const auto& other : kOthers) {
    if (other.group != group || !has_word(other.kinds, object.kind)) {
      continue;
    }
    return other.engine.empty()
               ? object.kind +
                     " is not enforced; ClusterNetworkPolicy of "
                     "policy.networking.k8s.io/v1alpha2 has replaced it"
               : object.kind + " of " + object.api_version + " is a kind of " +
                     std::string(other.engine) +
                     ", which Sluice does not enforce";
  }
  if (object.kind.ends_with("NetworkPolicy") && !is_nearly_read(group)) {
    return object.kind + " of " + object.api_version +
           " is not a kind that Sluice enforces";
  }
  return {};
}

// A kind that Sluice reads, in a version or a group in which it does not.
std::string wrong_version(std::string_view group, const Head& object) {
  for (const auto& read : kRead) {
    if (read.kind == object.kind &&
        (group_of(read.api_version) == group ||
         (is_policy_kind(object.kind) && is_nearly_read(group)))) {
      return "apiVersion: " + in_quotes(object.api_version) + " of " +
             object.kind + " is not read; did you mean " +
             in_quotes(read.api_version) + "?";
    }
  }
  return {};
}

// Kinds of the group that Sluice reads, and those whose pods it reads.
std::vector<std::string> names_in(std::string_view group) {
  std::vector<std::string> names;
  const auto take = [&](const auto& kinds) {
    for (const auto& each : kinds) {
      if (group_of(each.api_version) == group) {
        names.emplace_back(each.kind);
      }
    }
  };
  take(kRead);
  take(kWorkloads);
  return names;
}

std::string wrong_kind(std::string_view group, const Head& object) {
  for (const auto& known : kKnown) {
    if (known.group == group && !has_word(known.kinds, object.kind)) {
      const auto meant = did_you_mean(object.kind, names_in(group));
      return meant.empty() ? meant
                           : "kind: there is no " + in_quotes(object.kind) +
                                 " in " + object.api_version + meant;
    }
  }
  return {};
}

}  // namespace

void Checks::check_kind(const Head& object) {
  if (object.kind.empty() || object.api_version.empty()) {
    return;
  }
  const auto group = group_of(object.api_version);
  auto code = Code::kOtherEngine;
  auto message = other_engine(group, object);
  if (message.empty()) {
    code = Code::kUnknownKind;
    message = wrong_version(group, object);
  }
  if (message.empty()) {
    message = wrong_kind(group, object);
  }
  if (!message.empty()) {
    findings_.push_back({.code = code,
                         .file = object.file,
                         .line = object.line,
                         .object = object.kind + "/" +
                                   (object.ns.empty() ? "" : object.ns + "/") +
                                   object.name,
                         .message = std::move(message),
                         .of_policy = false});
  }
}

}  // namespace sluice::lint
