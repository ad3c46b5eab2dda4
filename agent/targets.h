// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "sluice/state.h"

namespace sluice::agent {

// The fields of an endpoint's record about its interface.
struct EndpointLink {
  // Prefix length of the IPv6 subnet that the pod shares with a bridge; 128 if
  // the node routes to it; 0 without IPv6.
  std::uint8_t on_link6 = 0;
  // Jiffies, 0 = never: see sluice_endpoint. Used for new records; an existing
  // record keeps its own value.
  std::uint32_t adopt_until = 0;
};

// The wanted endpoints, their interfaces, and the interfaces whose records may
// differ from those in the kernel.
class EndpointTargets {
 public:
  void set(const std::string& name, std::optional<EndpointEntry> entry);
  // 0 = no interface. Takes the interface from the endpoint that had it.
  void bind(const std::string& name, std::uint32_t ifindex,
            const EndpointLink& link = {});
  // Sets the value for the interface's record, if a new record is created.
  void adopt_until(std::uint32_t ifindex, std::uint32_t jiffies);
  void clear_endpoints();

  // The wanted endpoint behind an interface, or null.
  [[nodiscard]] const EndpointEntry* at(std::uint32_t ifindex) const;
  // Returns the link of a bound interface.
  [[nodiscard]] EndpointLink link_of(std::uint32_t ifindex) const;
  // Null if the endpoint is not wanted.
  [[nodiscard]] const EndpointEntry* find(const std::string& name) const;
  // 0 = none.
  [[nodiscard]] std::uint32_t interface_of(const std::string& name) const;
  // Interfaces of the wanted endpoints that have this policy set.
  [[nodiscard]] const std::unordered_set<std::uint32_t>& of_set(
      std::uint32_t set) const;

  // Interfaces whose record may differ from what is wanted.
  [[nodiscard]] const std::unordered_set<std::uint32_t>& dirty() const {
    return dirty_;
  }
  void mark(std::uint32_t ifindex) { dirty_.insert(ifindex); }
  void mark_all();
  void settle() { dirty_.clear(); }

 private:
  // Removes `name` from the indexes before a change; link() adds it again.
  void unlink(const std::string& name);
  void link(const std::string& name);

  std::unordered_map<std::string, EndpointEntry> endpoints_;
  std::unordered_map<std::string, std::uint32_t> bindings_;
  std::unordered_map<std::uint32_t, std::string> names_;  // by ifindex
  std::unordered_map<std::uint32_t, EndpointLink> links_;
  std::unordered_map<std::uint32_t, std::unordered_set<std::uint32_t>> sets_;
  std::unordered_set<std::uint32_t> dirty_;
};

}  // namespace sluice::agent
