// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/lint/input.h"
#include "lib/policy/rule.h"

// The pods and namespaces of a cluster, as far as the input shows them.
namespace sluice::lint {

enum class Truth : std::uint8_t { kNo, kMaybe, kYes };

class Population {
 public:
  // Holds references to the inputs.
  explicit Population(const std::map<std::string, Input>& inputs);

  // Whether the selector matches a pod: kMaybe if only one that the input does
  // not show can.
  [[nodiscard]] Truth selects(const policy::LabelSelector& selector) const;
  // The pods that it matches for certain, one of each kind; those on the host's
  // network are none.
  struct Selection {
    std::vector<const PodObject*> pods;
    bool complete = false;  // it can match no others
  };
  [[nodiscard]] Selection select(const policy::LabelSelector& selector) const;
  // Whether the selector matches this pod.
  [[nodiscard]] Truth selects(const policy::LabelSelector& selector,
                              const PodObject& pod) const;
  // True if a namespace fulfils what the selector says of namespaces, or may.
  [[nodiscard]] bool may_select_namespace(
      const policy::LabelSelector& selector) const;
  // True for a label by which charts let whoever has it be a client, unless the
  // input shows the pods of a cluster.
  [[nodiscard]] bool is_open_label(
      const policy::Requirement& requirement) const;
  // The values of a label that pods in these namespaces have.
  [[nodiscard]] std::vector<std::string> values_of(
      const std::string& label, const policy::LabelSelector& selector) const;
  // True if it matches a pod on the host's network, which no policy selects.
  [[nodiscard]] bool selects_host_pod(
      const policy::LabelSelector& selector) const;
  // Whether it may match something in the namespace that the cluster's DNS
  // servers are in.
  [[nodiscard]] bool may_select_cluster_dns(
      const policy::LabelSelector& selector) const;

  // True if the input has Namespace objects and nothing that makes or renames
  // others, but neither it nor every cluster has this one, and it has nothing
  // but policies in it.
  [[nodiscard]] bool lacks_namespace(const std::string& name) const;
  [[nodiscard]] std::vector<std::string> namespace_names() const;

 private:
  struct Space {
    kube::Labels labels;
    bool labels_known = false;  // there is an object of it
    bool described = false;
    bool inhabited = false;  // by anything but policies
  };

  void add_spaces(const std::map<std::string, Input>& inputs);
  void add_pods(const std::map<std::string, Input>& inputs);
  void close_spaces(const std::map<std::string, Input>& inputs);
  [[nodiscard]] bool may_select_others(
      const policy::LabelSelector& selector) const;
  [[nodiscard]] static Truth in_space(const policy::LabelSelector& selector,
                                      const std::string& ns,
                                      const Space& space);
  [[nodiscard]] static Truth holds_in(const policy::Requirement& requirement,
                                      const std::string& ns,
                                      const Space& space);
  [[nodiscard]] Truth holds(const policy::Requirement& requirement,
                            const PodObject& pod) const;

  std::map<std::string, Space> spaces_;
  std::vector<const PodObject*> pods_;       // one of each kind
  std::vector<const PodObject*> host_pods_;  // likewise
  bool has_namespaces_ = false;
  bool all_namespaces_ = false;  // nobody else makes or renames some
  bool placed_ = false;  // there are pods of a cluster, not only templates
  bool listed_ = false;  // all namespaces are in the input
  bool whole_ = false;   // all pods are
};

}  // namespace sluice::lint
