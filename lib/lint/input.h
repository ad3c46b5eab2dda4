// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lib/kube/objects.h"
#include "lib/policy/rule.h"

namespace sluice::kube {
struct Manifest;
}

namespace sluice::lint {

// A pod, or the pods that a workload (a Deployment, a CronJob, ...) will have.
struct PodObject {
  kube::Pod pod;
  bool is_template = false;
  // True if it comes and goes: a Job's, or that of a Helm hook. Where such pods
  // are, others may be that nobody has written down.
  bool passing = false;
};

struct PolicyObject {
  policy::Policy policy;
  std::string file;
  int line = 0;
  // False if the object is of a namespaced kind and names no namespace.
  bool has_namespace = true;
};

// Any object, by its head.
struct Head {
  std::string api_version;
  std::string kind;
  std::string ns;  // empty where the object names none
  std::string name;
  std::string file;
  int line = 0;
};

// What is looked at of one file: the valid objects that policies are about, and
// the heads of all others.
struct Input {
  std::vector<PodObject> pods;
  std::vector<kube::Namespace> namespaces;
  std::vector<kube::Node> nodes;
  std::vector<kube::Service> services;
  std::vector<kube::CidrGroup> cidr_groups;
  std::vector<PolicyObject> policies;
  std::vector<Head> others;
};

// Objects that are not valid are left out: whoever reads the manifest for
// another purpose reports them.
Input read_input(const kube::Manifest& manifest);

}  // namespace sluice::lint
