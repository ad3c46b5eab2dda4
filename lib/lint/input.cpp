// SPDX-License-Identifier: Apache-2.0
#include "lib/lint/input.h"

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "lib/kube/decode.h"
#include "lib/kube/manifest.h"
#include "lib/policy/parse.h"

namespace sluice::lint {
namespace {

using nlohmann::json;

// Where a kind keeps the template of its pods.
struct Workload {
  std::string_view api_version;
  std::string_view kind;
  std::string_view path;  // a JSON pointer
};
constexpr std::array kWorkloads{
    Workload{"apps/v1", "Deployment", "/spec/template"},
    Workload{"apps/v1", "ReplicaSet", "/spec/template"},
    Workload{"apps/v1", "StatefulSet", "/spec/template"},
    Workload{"apps/v1", "DaemonSet", "/spec/template"},
    Workload{"batch/v1", "Job", "/spec/template"},
    Workload{"batch/v1", "CronJob", "/spec/jobTemplate/spec/template"},
    Workload{"batch/v1beta1", "CronJob", "/spec/jobTemplate/spec/template"},
    Workload{"v1", "ReplicationController", "/spec/template"},
    Workload{"v1", "PodTemplate", "/template"},
    // What these were called in clusters of long ago, and still in charts.
    Workload{"extensions/v1beta1", "Deployment", "/spec/template"},
    Workload{"extensions/v1beta1", "DaemonSet", "/spec/template"},
    Workload{"apps/v1beta1", "Deployment", "/spec/template"},
    Workload{"apps/v1beta2", "Deployment", "/spec/template"},
    Workload{"apps/v1beta2", "DaemonSet", "/spec/template"},
    Workload{"apps/v1beta1", "StatefulSet", "/spec/template"},
    Workload{"apps/v1beta2", "StatefulSet", "/spec/template"},
    Workload{"apps.openshift.io/v1", "DeploymentConfig", "/spec/template"},
    Workload{"argoproj.io/v1alpha1", "Rollout", "/spec/template"},
};

// Pods as the template describes them, under the workload's name.
std::optional<kube::Pod> pod_of(const kube::ManifestObject& object,
                                std::string_view path) {
  const json::json_pointer pointer{std::string(path)};
  if (!object.object->contains(pointer)) {
    return std::nullopt;
  }
  const auto& pods = object.object->at(pointer);
  if (!pods.is_object()) {
    return std::nullopt;
  }
  json metadata = pods.value("metadata", json::object());
  if (!metadata.is_object()) {
    metadata = json::object();
  }
  metadata["name"] = object.name.empty() ? "unnamed" : object.name;
  metadata["namespace"] = object.ns.empty() ? "default" : object.ns;
  auto pod = kube::decode_pod(
      {{"metadata", metadata}, {"spec", pods.value("spec", json::object())}});
  return pod ? std::optional(std::move(*pod)) : std::nullopt;
}

bool is_hook(const json& object) {
  static const json::json_pointer annotations("/metadata/annotations");
  return object.contains(annotations) && object.at(annotations).is_object() &&
         object.at(annotations).contains("helm.sh/hook");
}

template <typename T>
void keep(Result<T> value, std::vector<T>& list) {
  if (value) {
    list.push_back(std::move(*value));
  }
}

// False if the object is of none of these kinds.
bool read_object(const kube::ManifestObject& object, Input& input) {
  const auto is = [&](std::string_view api_version, std::string_view kind) {
    return object.api_version == api_version && object.kind == kind;
  };
  const auto& value = *object.object;
  if (is("v1", "Namespace")) {
    keep(kube::decode_namespace(value), input.namespaces);
  } else if (is("v1", "Node")) {
    keep(kube::decode_node(value), input.nodes);
  } else if (is("v1", "Service")) {
    keep(kube::decode_service(value), input.services);
  } else if (is("cilium.io/v2", "CiliumCIDRGroup") ||
             is("cilium.io/v2alpha1", "CiliumCIDRGroup")) {
    keep(kube::decode_cidr_group(value), input.cidr_groups);
  } else if (is("v1", "Pod")) {
    if (auto pod = kube::decode_pod(value)) {
      input.pods.push_back({.pod = std::move(*pod), .passing = is_hook(value)});
    }
  } else if (policy::is_policy(object.api_version, object.kind)) {
    if (auto policy = policy::parse_policy(value)) {
      const bool cluster_wide = policy->key.ns.empty();
      input.policies.push_back(
          {.policy = std::move(*policy),
           .file = object.file,
           .line = object.line,
           .has_namespace = cluster_wide || !object.ns.empty()});
    }
  } else {
    return false;
  }
  return true;
}

bool read_workload(const kube::ManifestObject& object, Input& input) {
  for (const auto& workload : kWorkloads) {
    if (object.api_version == workload.api_version &&
        object.kind == workload.kind) {
      if (auto pod = pod_of(object, workload.path)) {
        input.pods.push_back({.pod = std::move(*pod),
                              .is_template = true,
                              .passing = object.kind.ends_with("Job") ||
                                         is_hook(*object.object)});
        return true;
      }
    }
  }
  return false;
}

}  // namespace

Input read_input(const kube::Manifest& manifest) {
  Input input;
  for (const auto& object : manifest.objects) {
    if (!read_object(object, input) && !read_workload(object, input)) {
      input.others.push_back({.api_version = object.api_version,
                              .kind = object.kind,
                              .ns = object.ns,
                              .name = object.name,
                              .file = object.file,
                              .line = object.line});
    }
  }
  return input;
}

}  // namespace sluice::lint
