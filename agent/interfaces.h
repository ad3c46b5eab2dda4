// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/ip.h"
#include "lib/base/result.h"
#include "sluice/state.h"

namespace sluice::agent {

// What netlink says about this network namespace's interfaces, which of them
// leads to a pod, and what happens to their tc filters. Follows changes. Used
// by one thread.
class Interfaces {
 public:
  static constexpr int kReceiveBytes = 4 << 20;
  // Subscribes and reads everything. `receive_bytes`: buffer for events; if it
  // overflows, everything is read again.
  static Result<Interfaces> open(int receive_bytes = kReceiveBytes);
  Interfaces(Interfaces&&) noexcept;
  Interfaces& operator=(Interfaces&&) noexcept;
  Interfaces(const Interfaces&) = delete;
  Interfaces& operator=(const Interfaces&) = delete;
  ~Interfaces();

  // Which interfaces are pods', as shell patterns of their names. Endpoints can
  // name these only; without any pattern, all.
  void set_pod_patterns(std::vector<std::string> patterns);
  [[nodiscard]] bool is_pods(const std::string& name) const;
  [[nodiscard]] bool may_be_named(const std::string& name) const;

  // To poll for reading; then call dispatch().
  [[nodiscard]] int fd() const;

  struct Changes {
    bool any = false;       // find() may answer otherwise, or one of the below
    bool resynced = false;  // events were lost; interfaces may have been remade
    std::vector<std::uint32_t> gone;  // interfaces deleted, maybe made anew
    // Interfaces where somebody took away tc filters, or put one into our slot;
    // ours need not be among them.
    std::vector<std::uint32_t> filters;
  };
  // Takes in all that has happened; does not wait.
  Result<Changes> dispatch();

  struct Found {
    std::uint32_t ifindex = 0;
    // By announce().
    bool announced = false;
    // By a route, which only the node's administrator can set, or by name; a
    // neighbour entry also follows what pods on the bridge claim.
    bool trusted = false;
  };
  // An endpoint's interface, by who made it; 0 takes that back. It counts until
  // the interface is gone. `starting`: nothing runs in the pod yet.
  void announce(const std::string& endpoint, std::uint32_t ifindex,
                bool starting = false);
  // True if the endpoint was announced last as starting.
  [[nodiscard]] bool is_starting(const std::string& endpoint) const;
  // The host side of an endpoint's veth: the one announced; else the interface
  // it names; else that of a
  // host route to one of its addresses; else the port of the bridge on which
  // one of them is a neighbour.
  [[nodiscard]] std::optional<Found> find(const EndpointEntry& endpoint) const;
  // Why find() finds nothing for an endpoint that names no interface, in words
  // that end a sentence: what leads to one of its addresses instead of a veth,
  // and with which plugins that is so. Empty if nothing does.
  [[nodiscard]] std::string reached_by(const EndpointEntry& endpoint) const;
  // Asks on the bridges that have the endpoint's subnets who has its addresses;
  // the answer comes as an event.
  void solicit(const EndpointEntry& endpoint);

  // The length of the IPv6 prefix that the pod behind an interface shares with
  // the interface's bridge; 128 where the node routes to the pod.
  [[nodiscard]] std::uint8_t on_link6(std::uint32_t ifindex,
                                      const IpAddress& ip) const;

  [[nodiscard]] bool exists(std::uint32_t ifindex) const;
  // True for a port of a bridge if the kernel's connection tracking does not
  // see what the bridge switches.
  [[nodiscard]] bool is_switched_unseen(std::uint32_t ifindex, bool v6) const;
  // Empty if there is no such interface.
  [[nodiscard]] std::string name(std::uint32_t ifindex) const;
  // 0 if there is none of that name.
  [[nodiscard]] std::uint32_t index(const std::string& name) const;
  [[nodiscard]] std::vector<std::uint32_t> all() const;

 private:
  Interfaces();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agent
