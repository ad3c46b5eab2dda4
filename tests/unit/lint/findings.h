// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/kube/manifest.h"
#include "lib/lint/lint.h"

// What the tests of lint share.
namespace sluice::lint::test {

// "object: message [code]" of each finding in one file.
inline std::vector<std::string> findings(const std::string& text,
                                         const std::string& file = "m.yaml") {
  std::vector<std::string> result;
  for (const auto& finding :
       lint({{file, read_input(kube::parse_manifest(text, file))}})) {
    result.push_back(finding.object + ": " + text_of(finding));
  }
  return result;
}

// The word for the code of each.
inline std::vector<std::string> codes(const std::string& text,
                                      const std::string& file = "m.yaml") {
  std::vector<std::string> result;
  for (const auto& finding :
       lint({{file, read_input(kube::parse_manifest(text, file))}})) {
    result.emplace_back(word_of(finding.code));
  }
  return result;
}

// A pod "namespace/app" of a cluster, with the label app.
inline std::string pod(const std::string& ns, const std::string& app,
                       const std::string& ip = "10.0.0.1",
                       const std::string& ports = "[]") {
  return "---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: " + ns +
         ", name: " + app + ", labels: {app: " + app +
         "}}\nspec: {nodeName: n1, containers: [{name: c, ports: " + ports +
         "}]}\nstatus: {podIPs: [{ip: " + ip + "}]}\n";
}

inline std::string namespace_object(const std::string& name,
                                    const std::string& labels = "{}") {
  return "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: " + name +
         ", labels: " + labels + "}\n";
}

// NetworkPolicy shop/p.
inline std::string network_policy(const std::string& spec) {
  return "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
         "metadata: {namespace: shop, name: p}\nspec: " +
         spec + "\n";
}

// CiliumNetworkPolicy shop/c.
inline std::string cilium_policy(const std::string& spec) {
  return "---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\n"
         "metadata: {namespace: shop, name: c}\nspec: " +
         spec + "\n";
}

// ClusterNetworkPolicy `name` of the Admin tier, for all namespaces.
inline std::string admin_policy(const std::string& name, int priority,
                                const std::string& egress) {
  return "---\napiVersion: policy.networking.k8s.io/v1alpha2\n"
         "kind: ClusterNetworkPolicy\nmetadata: {name: " +
         name + "}\nspec: {tier: Admin, priority: " + std::to_string(priority) +
         ", subject: {namespaces: {}}, egress: " + egress + "}\n";
}

}  // namespace sluice::lint::test
