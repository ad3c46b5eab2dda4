// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/kube/objects.h"
#include "lib/policy/peer_classes.h"
#include "lib/policy/rule.h"

// Services: their addresses and the backends of their ports.
namespace sluice::policy {

// A possible destination of a packet to a Service: an address and the port
// there.
struct Backend {
  IpAddress address;
  std::uint16_t port = 0;
  auto operator<=>(const Backend&) const = default;
};

// One port of a Service, resolved.
struct ServicePortView {
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;                   // 0 = none
  std::array<std::vector<Backend>, 2> backends;  // by family; sorted, unique
  bool operator==(const ServicePortView&) const = default;
};

// Holds Services with their EndpointSlices, and reports their addresses to
// PeerClasses. Backends are the endpoints to which kube-proxy would send a new
// connection: the ready ones or, if there are none, those that still serve
// while they terminate. If there are none of these either, all endpoints count:
// no new connection gets through, and existing ones go to one of them. The
// backends of a Service with a selector and without any EndpointSlice (in a
// folder of manifests) are the pods that it selects.
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

  // Empty if there is no such Service. `name` is "namespace/name".
  [[nodiscard]] const std::vector<ServicePortView>& ports(
      const std::string& name) const;
  // Services that have node ports.
  [[nodiscard]] const std::set<std::string>& with_node_ports() const {
    return with_node_ports_;
  }
  // Returns the current meaning of a rule that names Services: the pods that
  // the Services select, and for Services without a selector the addresses of
  // the endpoints.
  [[nodiscard]] std::vector<PeerSelector> expand(const ServicePeer& peer) const;

 private:
  struct Record {
    bool known = false;  // the object is there, not only slices
    kube::Service object;
    std::map<std::string, kube::EndpointSlice> slices;  // by name
    std::vector<ServicePortView> ports;
    std::set<IpAddress> addresses;  // known to the classes
    std::set<IpAddress> backends;   // likewise
    [[nodiscard]] bool derived() const {
      return known && slices.empty() && !object.selector.empty();
    }
  };
  // Endpoints of one port and family, by their readiness.
  struct Found {
    std::vector<Backend> ready;
    std::vector<Backend> ending;
    std::vector<Backend> others;
    std::vector<Backend>& list_for(const kube::SliceEndpoint& endpoint);
    // Returns the best available ones; the object is unspecified afterwards.
    std::vector<Backend> take();
  };

  void touch(const std::string& name);
  void update_one(const std::string& name, Record& record);
  void tell(const std::string& name, Record& record,
            std::set<IpAddress> addresses, std::set<IpAddress> backends);
  [[nodiscard]] std::vector<ServicePortView> resolve(
      const Record& record) const;
  static void find_in_slice(const kube::EndpointSlice& slice,
                            const kube::ServicePort& port,
                            std::array<Found, 2>& found);
  void find_pods(const Record& record, const kube::ServicePort& port,
                 std::array<Found, 2>& found) const;
  void forget_slice(const std::string& key);

  PeerClasses& classes_;
  PodsOf pods_of_;
  std::map<std::string, Record> services_;                // by "namespace/name"
  std::map<std::string, std::string> slice_services_;     // by slice's name
  std::map<std::string, std::set<std::string>> derived_;  // by namespace
  std::set<std::string> with_node_ports_;
  std::set<std::string> dirty_;
  std::set<std::string> changes_;
  bool peers_changed_ = false;
  bool node_ports_changed_ = false;
};

}  // namespace sluice::policy
