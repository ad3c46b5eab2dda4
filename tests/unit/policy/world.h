// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "lib/policy/translator.h"

// Objects that the translator's tests share.
namespace sluice::policy::test {

// Pods of a namespace with the label app; without it if `app` is empty.
inline LabelSelector labels(const std::string& ns, const std::string& app) {
  LabelSelector selector;
  if (!app.empty()) {
    selector.requirements.push_back(
        {.key = "app", .op = Requirement::Op::kIn, .values = {app}});
  }
  selector.requirements.push_back({.key = "io.kubernetes.pod.namespace",
                                   .op = Requirement::Op::kIn,
                                   .values = {ns}});
  return selector;
}

// A pod of the namespace x.
inline kube::Pod pod(const std::string& name, const std::string& app,
                     const std::string& ip, const std::string& node = "n1") {
  kube::Pod result;
  result.ns = "x";
  result.name = name;
  result.labels = {{"app", app}};
  result.node = node;
  result.service_account = "default";
  result.ips = {*parse_ip(ip)};
  return result;
}

}  // namespace sluice::policy::test
