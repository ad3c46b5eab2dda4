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

// The interfaces of this network namespace, by netlink: which of them leads to
// which pod, and changes of their tc filters. Used by one thread.
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

  // Sets the shell patterns for names of pods' interfaces. Endpoints can name
  // only such interfaces; without patterns, they can name any.
  void set_pod_patterns(std::vector<std::string> patterns);
  [[nodiscard]] bool is_pods(const std::string& name) const;
  [[nodiscard]] bool may_be_named(const std::string& name) const;

  // Descriptor to poll for reading; then call dispatch().
  [[nodiscard]] int fd() const;

  struct Changes {
    // find() may return something else, or one of the following is set.
    bool any = false;
    // Events were lost; interfaces may have been recreated.
    bool resynced = false;
    // Interfaces that were deleted, perhaps recreated.
    std::vector<std::uint32_t> gone;
    // Interfaces on which tc filters were removed or one was put into our slot.
    // Our own filters need not be affected.
    std::vector<std::uint32_t> filters;
  };
  // Reads all pending events; does not wait.
  Result<Changes> dispatch();

  struct Found {
    std::uint32_t ifindex = 0;
    // Found by announce().
    bool announced = false;
    // Found by a route, which only the node's administrator can set, or by
    // name. False for a neighbour entry, which pods on the bridge can
    // influence.
    bool trusted = false;
  };
  // Sets an endpoint's interface, as reported by the CNI plugin that created
  // it; 0 withdraws it. It counts until the interface is gone. `starting`:
  // nothing runs in the pod yet.
  void announce(const std::string& endpoint, std::uint32_t ifindex,
                bool starting = false);
  // True if the endpoint was announced last as starting.
  [[nodiscard]] bool is_starting(const std::string& endpoint) const;
  // Finds the host side of an endpoint's veth: the announced one; otherwise the
  // interface that the endpoint names; otherwise that of a host route to one of
  // its addresses; otherwise the bridge port on which one of them is a
  // neighbour.
  [[nodiscard]] std::optional<Found> find(const EndpointEntry& endpoint) const;
  // Explains why find() finds nothing for an endpoint that names no interface:
  // what leads to one of its addresses instead of a veth, and with which
  // plugins this happens. The text ends a sentence. Empty if nothing leads
  // there.
  [[nodiscard]] std::string reached_by(const EndpointEntry& endpoint) const;
  // Solicits the endpoint's addresses (ARP, neighbour discovery) on bridges in
  // its subnets; the answer arrives as an event.
  void solicit(const EndpointEntry& endpoint);

  // Returns the length of the IPv6 prefix that the pod behind an interface
  // shares with the interface's bridge; 128 if the node routes to the pod.
  [[nodiscard]] std::uint8_t on_link6(std::uint32_t ifindex,
                                      const IpAddress& ip) const;

  [[nodiscard]] bool exists(std::uint32_t ifindex) const;
  // True for a port of a bridge if the kernel's connection tracking does not
  // see what the bridge switches.
  [[nodiscard]] bool is_switched_unseen(std::uint32_t ifindex, bool v6) const;
  // Returns the interface's name; empty if there is no such interface.
  [[nodiscard]] std::string name(std::uint32_t ifindex) const;
  // Returns the interface's index; 0 if there is none of that name.
  [[nodiscard]] std::uint32_t index(const std::string& name) const;
  [[nodiscard]] std::vector<std::uint32_t> all() const;

 private:
  Interfaces();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agent
