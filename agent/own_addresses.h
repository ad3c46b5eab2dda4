// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "lib/base/ip.h"
#include "lib/base/result.h"

namespace sluice::agent {

// The addresses of this network namespace's devices, as they come and go: of
// global and of link scope, without loopback and multicast ones, and without
// those of kube-ipvs0, where kube-proxy in IPVS mode puts what Services have.
// One that several devices have (the same gateway on every pod's veth) is there
// until the last of them loses it. Used by one thread.
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

  // To poll for reading; then call dispatch().
  [[nodiscard]] int fd() const;
  // Takes in all that has happened; does not wait. True if all() is another.
  // After an error what was known stands, and the next call reads everything.
  Result<bool> dispatch();
  // Sorted, each once.
  [[nodiscard]] const std::vector<IpAddress>& all() const;

 private:
  OwnAddresses();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::agent
