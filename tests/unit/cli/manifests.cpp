// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/cli/manifests.h"

#include <nlohmann/json.hpp>

#include "lib/kube/manifest.h"

namespace sluice::cli {

using nlohmann::json;

void add_manifests(Cluster& cluster, const std::string& file,
                   const std::string& manifests) {
  cluster.store().set_source(file, kube::parse_manifest(manifests, file));
  cluster.store().commit();
}

Cluster cluster_of(const std::string& manifests) {
  Cluster cluster;
  cluster.store().set_local_node({.name = "here", .labels = {}, .ips = {}});
  add_manifests(cluster, "m.yaml", manifests);
  return cluster;
}

Cluster cluster_of(const json& objects) {
  return cluster_of(
      json{{"apiVersion", "v1"}, {"kind", "List"}, {"items", objects}}.dump());
}

}  // namespace sluice::cli
