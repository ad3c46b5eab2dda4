// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/kube/objects.h"
#include "lib/policy/peer_classes.h"
#include "lib/policy/rule.h"
#include "sluice/state.h"

// Services: their addresses and the backends of their ports.
namespace sluice::policy {

// A possible destination of a packet to a Service: an address and the port
// there.
struct Backend {
  IpAddress address;
  std::uint16_t port = 0;
  auto operator<=>(const Backend&) const = default;
};

// A place in the cluster, as far as it decides which backends of a Service are
// used. Both may be empty: any other place.
struct Site {
  std::string_view node;
  std::string_view zone;
};

// The backends that nodes use where this depends on the node. The others use
// all backends of the port or, with `only`, none.
struct Nearby {
  bool only = false;
  std::map<std::string, std::vector<Backend>, std::less<>> by_node;
  std::map<std::string, std::vector<Backend>, std::less<>> by_zone;
  bool operator==(const Nearby&) const = default;
  // True if it does not depend on the node.
  [[nodiscard]] bool empty() const {
    return !only && by_node.empty() && by_zone.empty();
  }
};

// Where a packet to a Service is addressed to.
enum class Front : std::uint8_t {
  kCluster,   // a cluster address
  kExternal,  // an external address or one of the load balancer
  kNode,      // a node port
};

// One port of a Service, or a host port of a pod, resolved. Lists are by
// family, sorted and unique.
struct ServicePortView {
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;  // 0 = none
  std::array<std::vector<Backend>, 2> backends;
  // Not empty: at addresses other than the cluster's, these count instead of
  // `backends`, which are among them.
  std::array<std::vector<Backend>, 2> outside = {};
  std::array<Nearby, 2> cluster = {};   // at cluster addresses
  std::array<Nearby, 2> external = {};  // at external addresses
  // The host port's only address.
  std::optional<IpAddress> host_ip = {};  // NOLINT(readability-redundant*)
  bool operator==(const ServicePortView&) const = default;

  // The backends that a packet from a pod at `site` may reach.
  [[nodiscard]] const std::vector<Backend>& at(Front front, bool v6,
                                               const Site& site) const;
  [[nodiscard]] const Nearby* nearby(Front front, bool v6) const;
  // True if packets to this kind of address reach other backends than
  // `backends`, on some node at least.
  [[nodiscard]] bool is_special(Front front, bool v6) const;
  // Visits all backends, some of them repeatedly.
  template <typename Visit>
  void visit_all(const Visit& visit) const;
};

// The name under which the host ports of a node's pods are kept; no Service has
// such a name.
std::string host_ports_of(const std::string& node);
// The node of such a name; empty if it is a Service's.
std::string_view node_of_host_ports(std::string_view name);

// Holds Services with their EndpointSlices, and reports their addresses to
// PeerClasses. Backends are the endpoints to which kube-proxy would send a new
// connection: the ready ones or, if there are none, those that still serve
// while they terminate. If there are none of these either, all endpoints count:
// no new connection gets through, and existing ones go to one of them. The
// backends of a Service with a selector and without any EndpointSlice (in a
// folder of manifests) are the pods that it selects.
//
// With internalTrafficPolicy Local, only the endpoints of a pod's own node
// count at the cluster addresses, by the same preference. Hints of
// EndpointSlices count as in kube-proxy if the Service asks for them: if all
// ready endpoints have hints for nodes, those for the pod's node; otherwise, if
// all have hints for zones, those for the node's zone; if there are none of
// these, all. externalTrafficPolicy Local restricts nothing: kube-proxy treats
// packets from pods as internal ones, or uses the endpoints of another node.
//
// The host ports of a node's pods are kept like the ports of a Service.
class Services {
 public:
  // Visits every known pod of a namespace, including those on the host's
  // network.
  using PodsOf =
      std::function<std::vector<const kube::Pod*>(const std::string& ns)>;

  Services(PeerClasses& classes, PodsOf pods_of)
      : classes_(classes), pods_of_(std::move(pods_of)) {}

  void set(const kube::Service& object);
  void remove(const std::string& ns, const std::string& name);
  void set(const kube::EndpointSlice& object);
  void remove_slice(const std::string& ns, const std::string& name);
  // A pod was added, deleted (`after` is null) or changed.
  void pod_changed(const kube::Pod* before, const kube::Pod* after);

  // Updates the derived data and the classes.
  void update();
  // "namespace/name" of Services with other ports or backends than at the last
  // clear_changes().
  [[nodiscard]] const std::set<std::string>& changes() const {
    return changes_;
  }
  // True if one of these has or had node ports.
  [[nodiscard]] bool node_ports_changed() const { return node_ports_changed_; }
  // True if expand() may return something else than at the last
  // clear_changes().
  [[nodiscard]] bool peers_changed() const { return peers_changed_; }
  void clear_changes();

  // The cluster's DNS servers: cluster addresses and endpoints of the Services
  // of kube-system that are labelled k8s-app=kube-dns, at port 53. Other
  // namespaces do not count, because who owns one could make a Service of this
  // kind and answer his own pods' questions.
  [[nodiscard]] std::vector<Resolver> resolvers() const;
  [[nodiscard]] bool is_resolver(const Resolver& resolver) const {
    return resolvers_.contains(resolver);
  }
  // Those that were added or removed since the last clear_changes().
  [[nodiscard]] const std::set<Resolver>& resolver_changes() const {
    return resolver_changes_;
  }

  // nullptr if there is no such Service. `name` is "namespace/name". Valid
  // until the next change.
  [[nodiscard]] const kube::Service* find(const std::string& name) const;
  // Empty if there is no such Service.
  [[nodiscard]] const std::vector<ServicePortView>& ports(
      const std::string& name) const;
  // The addresses of which a Service's name was added or removed since the
  // last clear_changes().
  [[nodiscard]] const std::set<IpAddress>& moved() const { return moved_; }
  [[nodiscard]] const std::set<IpAddress>& addresses(
      const std::string& name) const;
  // Services in whose resolved ports the zones of nodes count.
  [[nodiscard]] const std::set<std::string>& with_zones() const {
    return with_zones_;
  }
  // The Service's address, which `address` must be one of, is of this kind.
  [[nodiscard]] Front front(const std::string& name,
                            const IpAddress& address) const;
  // Services that have node ports.
  [[nodiscard]] const std::set<std::string>& with_node_ports() const {
    return with_node_ports_;
  }
  // Returns the current meaning of a rule that names Services: the pods that
  // the Services select, and for Services without a selector the addresses of
  // the endpoints.
  [[nodiscard]] std::vector<PeerSelector> expand(const ServicePeer& peer) const;

 private:
  // A pod with host ports.
  struct Hosted {
    std::vector<IpAddress> ips;
    std::vector<kube::HostPort> ports;
    bool operator==(const Hosted&) const = default;
  };
  struct Record {
    bool known = false;  // the object is there, not only slices
    kube::Service object;
    std::map<std::string, kube::EndpointSlice> slices;  // by name
    std::map<std::string, Hosted> hosted;               // by the pod's name
    std::vector<ServicePortView> ports;
    std::set<IpAddress> addresses;  // known to the classes
    std::set<IpAddress> backends;   // likewise
    std::set<Resolver> resolvers;   // counted
    [[nodiscard]] bool derived() const {
      return known && slices.empty() && !object.selector.empty();
    }
  };

  void touch(const std::string& name);
  void update_one(const std::string& name, Record& record);
  void tell(const std::string& name, Record& record,
            std::set<IpAddress> addresses, std::set<IpAddress> backends);
  static std::set<Resolver> resolvers_of(
      const Record& record, const std::vector<ServicePortView>& ports);
  void count_resolvers(Record& record, std::set<Resolver> now);
  [[nodiscard]] std::vector<ServicePortView> resolve(
      const Record& record) const;
  struct Found;
  static bool selects(const kube::Labels& selector, const kube::Labels& labels);
  static void find_in_slice(const kube::EndpointSlice& slice,
                            const kube::ServicePort& port,
                            std::array<Found, 2>& found);
  void find_pods(const Record& record, const kube::ServicePort& port,
                 std::array<Found, 2>& found) const;
  static std::vector<ServicePortView> resolve_hosted(const Record& record);
  void host_ports_changed(const kube::Pod* before, const kube::Pod* after);
  void index(const std::string& name, const Record& record);
  void forget_slice(const std::string& key);

  PeerClasses& classes_;
  PodsOf pods_of_;
  std::map<std::string, Record> services_;                // by "namespace/name"
  std::map<std::string, std::string> slice_services_;     // by slice's name
  std::map<std::string, std::set<std::string>> derived_;  // by namespace
  std::set<std::string> with_node_ports_;
  std::set<std::string> dirty_;
  std::set<std::string> changes_;
  std::set<IpAddress> moved_;
  std::map<Resolver, std::uint32_t> resolvers_;  // by how many Services
  std::set<Resolver> resolver_changes_;
  std::set<std::string> with_zones_;
  bool peers_changed_ = false;
  bool node_ports_changed_ = false;
};

template <typename Visit>
void ServicePortView::visit_all(const Visit& visit) const {
  const auto each = [&](const std::vector<Backend>& list) {
    std::ranges::for_each(list, visit);
  };
  for (std::size_t family = 0; family < backends.size(); ++family) {
    each(backends[family]);
    each(outside[family]);
    for (const auto* nearby : {&cluster[family], &external[family]}) {
      for (const auto* places : {&nearby->by_node, &nearby->by_zone}) {
        for (const auto& [place, list] : *places) {
          each(list);
        }
      }
    }
  }
}

}  // namespace sluice::policy
