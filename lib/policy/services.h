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

// Services: which addresses they have and which backends stand behind every
// port of theirs.
namespace sluice::policy {

// Where a packet to a Service may end up: an address and the port there.
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

// Keeps Services with their EndpointSlices, and tells PeerClasses which
// addresses are theirs. Backends are the endpoints that kube-proxy would send a
// new connection to: the ready ones; where none is, those that still serve
// while they end. Where there are none of these either, all endpoints count:
// nothing new gets through, and connections that stand go to one of them.
// A Service with a selector and without any EndpointSlice (a folder of
// manifests) has the pods that it selects.
class Services {
 public:
  // Every pod of a namespace that is known, host network included.
  using PodsOf =
      std::function<std::vector<const kube::Pod*>(const std::string& ns)>;

  Services(PeerClasses& classes, PodsOf pods_of)
      : classes_(classes), pods_of_(std::move(pods_of)) {}

  void set(const kube::Service& object);
  void remove(const std::string& ns, const std::string& name);
  void set(const kube::EndpointSlice& object);
  void remove_slice(const std::string& ns, const std::string& name);
  // A pod came, went (`after` is null) or changed.
  void pod_changed(const kube::Pod* before, const kube::Pod* after);

  // Brings what is derived up to date and tells the classes.
  void update();
  // "namespace/name" of Services with other ports or backends than at the last
  // clear_changes().
  [[nodiscard]] const std::set<std::string>& changes() const {
    return changes_;
  }
  // Whether one of these has or had node ports.
  [[nodiscard]] bool node_ports_changed() const { return node_ports_changed_; }
  // Whether expand() may give something else than at the last clear_changes().
  [[nodiscard]] bool peers_changed() const { return peers_changed_; }
  void clear_changes();

  // Empty if there is no such Service. `name` is "namespace/name".
  [[nodiscard]] const std::vector<ServicePortView>& ports(
      const std::string& name) const;
  // Services that have node ports.
  [[nodiscard]] const std::set<std::string>& with_node_ports() const {
    return with_node_ports_;
  }
  // What a rule that names Services means today: the pods that the Services
  // select, and the endpoints' addresses of those without a selector.
  [[nodiscard]] std::vector<PeerSelector> expand(const ServicePeer& peer) const;

 private:
  struct Record {
    bool known = false;  // the object is there, not only slices
    kube::Service object;
    std::map<std::string, kube::EndpointSlice> slices;  // by name
    std::vector<ServicePortView> ports;
    std::set<IpAddress> addresses;  // that classes know of
    std::set<IpAddress> backends;   // likewise
    [[nodiscard]] bool derived() const {
      return known && slices.empty() && !object.selector.empty();
    }
  };
  // Endpoints of one port and family, by how good they are.
  struct Found {
    std::vector<Backend> ready;
    std::vector<Backend> ending;
    std::vector<Backend> others;
    std::vector<Backend>& list_for(const kube::SliceEndpoint& endpoint);
    // The best that there are; leaves them unspecified.
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
