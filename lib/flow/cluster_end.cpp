// SPDX-License-Identifier: Apache-2.0
#include "lib/flow/cluster_end.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

#include "lib/flow/entity.h"
#include "lib/kube/workload.h"

namespace sluice::flow {
namespace {

// `name`: one of kEntities.
End entity(std::string_view name) {
  End end;
  end.labels.push_back("reserved:" + std::string(name));
  end.identity = *entity_identity(name);
  return end;
}

// "namespace/name" in two.
std::pair<std::string, std::string> split(const std::string& name) {
  const auto slash = name.find('/');
  return {name.substr(0, slash), name.substr(slash + 1)};
}

// Of names of objects (Kubernetes, "Object Names and IDs").
constexpr std::size_t kNameMax = 253;

End pod_end(const kube::Pod& pod) {
  End end;
  end.ns = pod.ns;
  end.pod = pod.name;
  for (const auto& [key, value] : pod.labels) {
    end.labels.push_back("k8s:" + key + (value.empty() ? "" : "=" + value));
  }
  end.labels.push_back("k8s:io.kubernetes.pod.namespace=" + pod.ns);
  std::ranges::sort(end.labels);
  auto workload = kube::workload_of(pod);
  // An owner is whatever the pod says it is.
  end.workload = workload.name.substr(0, kNameMax);
  end.workload_kind = workload.kind.substr(0, kNameMax);
  return end;
}

}  // namespace

End cluster_end(const policy::Translator& translator, const IpAddress& address,
                const std::string& node) {
  const auto found = translator.occupant(address);
  const auto* pod = translator.pod(found.pod);
  if (pod != nullptr) {
    return pod_end(*pod);
  }
  End end;
  if (!found.node.empty()) {
    end = found.node == node ? entity("host") : entity("remote-node");
  } else if (found.services.empty()) {
    end = entity("world");
  }
  if (!found.services.empty()) {
    std::tie(end.ns, end.service) = split(found.services.front());
  }
  if (found.api_server) {
    end.labels.insert(end.labels.begin(), "reserved:kube-apiserver");
    end.identity = *entity_identity("kube-apiserver");
  }
  return end;
}

}  // namespace sluice::flow
