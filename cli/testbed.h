// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "cli/cluster.h"
#include "cli/scenario.h"
#include "lib/dns/matcher.h"
#include "lib/kube/objects.h"
#include "lib/policy/model.h"

namespace sluice::cli {

// One packet to be judged: a probe, at one end, in one address family.
struct Question {
  std::string subject;  // "namespace/pod"
  std::string node;
  policy::Direction direction = policy::Direction::kIngress;
  IpAddress own;  // the subject's address
  IpAddress peer;
  std::uint8_t protocol = 6;
  std::uint16_t port = 0;
};

// The cluster of one scenario, with an address for every entity that its probes
// name. Such an address is in no CIDR of the scenario except those of length 0.
class Testbed {
 public:
  explicit Testbed(const Scenario& scenario);

  // Expectations about the scenario's objects that failed: an object that must
  // be rejected was accepted, or the reverse.
  [[nodiscard]] const std::vector<std::string>& object_failures() const {
    return object_failures_;
  }
  // Objects that were skipped because their kind is unknown.
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }
  [[nodiscard]] const Cluster& cluster() const { return cluster_; }
  // Returns the view of one node, computed at the first call.
  const policy::Model& model(const std::string& node);
  // The node's selectors of names that match one of the names.
  std::vector<std::uint32_t> selectors(const std::string& node,
                                       const std::vector<dns::Name>& names);
  // True if the address and port are those of one of the cluster's resolvers.
  [[nodiscard]] bool is_resolver(const IpAddress& address, std::uint16_t port,
                                 std::uint8_t protocol) const;

  // False if that end of the probe is a pod or a Service that is not in the
  // scenario.
  [[nodiscard]] bool knows(const ProbeEnd& end) const;
  // True if that end of the probe is a pod with policy of its own.
  bool has_policy(const ProbeEnd& end);
  // One question for each address family that both ends have. ICMP and ICMPv6
  // are asked in their own family if both ends have it. To a Service, there is
  // one for each cluster IP.
  std::vector<Question> questions(const Probe& probe,
                                  policy::Direction direction);
  // The probe with a number in place of its port's name; fails if the pod or
  // the Service has no such port.
  [[nodiscard]] Result<Probe> with_port_number(const Probe& probe) const;
  // Probes to the backends of the Service at `to`, in the family: those to
  // which the pod at `from` can come. A backend that is no pod is an address.
  [[nodiscard]] std::vector<Probe> backends(const Probe& probe, bool v6) const;

 private:
  using Addresses = std::vector<IpAddress>;

  void load(const Scenario& scenario);
  void check_objects(const Scenario& scenario);
  void add_entities(const Scenario& scenario);
  void add_entity(const std::string& entity);
  void add_node(const std::string& name, const Addresses& ips);
  IpAddress unused(bool v6);
  Addresses unused_pair() { return {unused(false), unused(true)}; }
  Addresses host_of(const std::string& node);
  Addresses addresses(const ProbeEnd& end, const std::string& node);
  [[nodiscard]] const kube::Pod* pod(const ProbeEnd& end) const;

  Cluster cluster_;
  std::vector<std::string> object_failures_;
  std::vector<std::string> notes_;
  std::vector<IpPrefix> taken_;  // CIDRs and addresses in the objects
  std::minstd_rand random_{1};
  std::map<std::string, Addresses> entities_;
  std::map<std::string, Addresses> nodes_;
  std::map<std::string, kube::Service> services_;  // "namespace/name"
  std::map<std::string, policy::Model> models_;
  std::map<std::string, dns::Matcher> matchers_;  // by node
};

}  // namespace sluice::cli
