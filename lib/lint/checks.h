// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/lint/input.h"
#include "lib/lint/lint.h"
#include "lib/lint/population.h"

// The checks of which lint() consists, a file each.
namespace sluice::lint {

class Checks {
 public:
  explicit Checks(const std::map<std::string, Input>& inputs);

  std::vector<Finding> run() &&;
  // See lib/lint/dns.h.
  std::vector<std::string> pods_without_dns() &&;

 private:
  // A policy's spec, in the order of the input.
  struct Place {
    const PolicyObject* object = nullptr;
    const policy::Spec* spec = nullptr;
    [[nodiscard]] const policy::Policy& policy() const {
      return object->policy;
    }
  };

  // Is what a selector names there? check_selectors.cpp
  void check_selectors(const Place& place);
  bool check_namespaces(const PolicyObject& object, const std::string& path,
                        const policy::LabelSelector& selector);
  void check_namespace(const PolicyObject& object, const std::string& path,
                       const std::string& name);
  void check_subject(const Place& place);
  void check_peers(const PolicyObject& object, const policy::Rule& rule);
  void check_labels(const PolicyObject& object, const policy::Rule& rule,
                    const policy::LabelSelector& selector);
  void check_object_peer(const PolicyObject& object, const policy::Rule& rule,
                         const policy::PeerSelector& peer);
  void check_nodes(const PolicyObject& object, const policy::Rule& rule,
                   const policy::NodePeer& peer);
  void check_ports(const Place& place, const policy::Rule& rule);
  // For people: which labels and namespace.
  [[nodiscard]] std::string suggest(
      const policy::LabelSelector& selector) const;

  // Can a rule change anything? check_shadowed.cpp
  struct PlacedRule {
    const Place* place = nullptr;
    const policy::Rule* rule = nullptr;
    std::size_t index = 0;  // in its spec
    bool gone = false;      // found to change nothing
  };
  void check_shadowed();
  void check_shadowed(const PolicyObject& object,
                      std::vector<PlacedRule>& rules);
  [[nodiscard]] bool decides_before(const PlacedRule& wide,
                                    const PlacedRule& narrow) const;
  [[nodiscard]] bool may_pass(const PlacedRule& deny) const;
  [[nodiscard]] std::vector<std::string> shadows_of(
      const PlacedRule& narrow, const std::vector<PlacedRule>& rules) const;

  // Can pods look up the names that they need? check_dns.cpp
  struct Dns {
    bool isolated = false;
    bool asks = false;    // may ask some server
    bool learns = false;  // whose answers count
  };
  void check_dns(const Place& place);
  // Of a pod to which these specs apply. `of_cluster`: rules by domainNames.
  [[nodiscard]] Dns dns_of(const std::vector<const Place*>& applied,
                           bool of_cluster) const;
  [[nodiscard]] const std::vector<const Place*>& applied_to(
      const PodObject& pod);
  [[nodiscard]] std::vector<const Place*> beside(const Place& place) const;

  // Single objects. check_objects.cpp
  void check_object(const PolicyObject& object);
  [[nodiscard]] bool may_be_of_default(const PolicyObject& object) const;
  void check_addresses(const PolicyObject& object, const policy::Rule& rule);

  // Kinds that Sluice does not read. check_kinds.cpp
  void check_kind(const Head& object);

  void index_addresses(const Input& input);
  void add(const PolicyObject& object, Code code, std::string message);

  const std::map<std::string, Input>& inputs_;
  Population population_;
  std::vector<Place> places_;
  std::vector<PlacedRule> denies_;  // of all policies
  std::vector<PlacedRule> passes_;  // likewise
  std::map<const PodObject*, std::vector<const Place*>> applied_;
  std::map<IpAddress, std::string> owners_;    // pods and nodes, for people
  std::map<IpAddress, std::string> services_;  // "namespace/name"
  std::vector<Finding> findings_;
};

// "spec" or "specs[2]".
std::string path_of(const policy::Spec& spec);

}  // namespace sluice::lint
