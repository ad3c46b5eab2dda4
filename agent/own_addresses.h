// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "lib/base/ip.h"
#include "lib/base/result.h"

namespace sluice::agent {

// Follows the addresses of all devices in this network namespace: those of
// global and link scope, without loopback and multicast addresses, and without
// those of kube-ipvs0, where kube-proxy in IPVS mode puts the addresses of
// Services. An address on several devices (the same gateway on every pod's
// veth) counts until the last device loses it. Used by one thread.
class OwnAddresses {
 public:
  static constexpr int kReceiveBytes = 1 << 20;
  // Subscribes and reads everything. `receive_bytes`: buffer for events; if it
  // overflows, everything is read again.
  static Result<OwnAddresses> open(int receive_bytes = kReceiveBytes);
  OwnAddresses(OwnAddresses&&) noexcept;
  OwnAddresses& operator=(OwnAddresses&&) noexcept;
  OwnAddresses(const OwnAddresses&) = delete;
  OwnAddresses& operator=(const OwnAddresses&) = delete;
  ~OwnAddresses();

  // Descriptor to poll for reading; then call dispatch().
  [[nodiscard]] int fd() const;
  // Reads all pending events; does not wait. True if all() has changed. After
  // an error all() is unchanged, and the next call reads everything.
  Result<bool> dispatch();
  // Sorted, each once.
  [[nodiscard]] const std::vector<IpAddress>& all() const;

 private:
  OwnAddresses();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agent
