// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "lib/base/ip.h"
#include "lib/policy/peer_classes.h"
#include "lib/policy/service_variants.h"
#include "lib/policy/services.h"

// The addresses of Services as peer classes, with the classes of what stands
// behind each of their ports.
namespace sluice::policy {

// A port of a Service's address, by the classes of what stands behind it.
struct FrontendPort {
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;
  // Class and target port; sorted, unique. None: there is no endpoint.
  std::vector<std::pair<std::uint32_t, std::uint16_t>> targets;
  auto operator<=>(const FrontendPort&) const = default;
};

// A port of a Service's address behind which a pod stands that nobody else
// there can be mistaken for: no other backend has its class and target port.
struct OwnPort {
  std::uint32_t front = 0;  // the address's class
  std::uint8_t protocol = 0;
  std::uint16_t port = 0;
  std::uint32_t target = 0;  // the pod's class
  std::uint16_t number = 0;  // its port
  auto operator<=>(const OwnPort&) const = default;
};

class Frontends {
 public:
  Frontends(const PeerClasses& classes, const Services& services)
      : classes_(classes), services_(services) {}

  struct Changes {
    // Classes of which some port has other targets.
    std::set<std::uint32_t> classes;
    // Pods of whose own ports, those of own_ports_of(), one came, went or has
    // other targets.
    std::unordered_set<PodRecord*> pods;
  };
  // Follows the changes of classes and Services. Call after these are up to
  // date.
  Changes update();

  // Sorted by protocol and port; nullptr if the class is no Service's address.
  [[nodiscard]] const std::vector<FrontendPort>* ports(
      std::uint32_t cidr_id) const;
  // nullptr if there is no such port.
  [[nodiscard]] const FrontendPort* port(std::uint32_t cidr_id,
                                         std::uint8_t protocol,
                                         std::uint16_t number) const;
  // Adds the Services' addresses that have a target of the class.
  void add_fronts_of(std::uint32_t target, std::set<std::uint32_t>& ids) const;
  // Adds all Services' addresses.
  void add_all(std::set<std::uint32_t>& ids) const;
  // The ports behind which the address stands for itself alone; nullptr: none.
  [[nodiscard]] const std::set<OwnPort>* own_ports_of(
      const IpAddress& address) const;

 private:
  // Addresses of pods by the port of a Service behind which they are.
  using Addresses = std::map<OwnPort, std::set<IpAddress>>;
  // By protocol and number.
  using PortMap =
      std::map<std::pair<std::uint8_t, std::uint16_t>, FrontendPort>;
  // The backends of a Service's address that stand for themselves alone, each
  // on the nodes where it is used.
  using LoneBackends = Addresses;
  struct Resolved {
    std::vector<FrontendPort> ports;
    LoneBackends lone;
  };

  [[nodiscard]] std::set<std::uint32_t> stale() const;
  void add_port(std::uint32_t cidr_id, const BehindPort& found, PortMap& ports,
                Addresses& behind) const;
  void add_lone(const PeerClasses::Place& place, Addresses here,
                Addresses& everywhere, LoneBackends& lone) const;
  [[nodiscard]] Resolved resolve(std::uint32_t cidr_id) const;
  void add_classes_of(const std::string& name,
                      std::set<std::uint32_t>& ids) const;
  void set_ports(std::uint32_t cidr_id, std::vector<FrontendPort> ports);
  void set_lone(std::uint32_t cidr_id, const Resolved& now,
                std::unordered_set<PodRecord*>& pods);

  const PeerClasses& classes_;
  const Services& services_;
  std::map<std::uint32_t, std::vector<FrontendPort>> ports_;  // by class
  // Service addresses by the classes of what stands behind them.
  std::unordered_map<std::uint32_t, std::set<std::uint32_t>> fronts_of_;
  std::map<std::uint32_t, LoneBackends> lone_;  // by class
  std::map<IpAddress, std::set<OwnPort>> lone_at_;
};

}  // namespace sluice::policy
