// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include "lib/base/fd.h"
#include "lib/base/ip.h"
#include "lib/base/result.h"

namespace sluice::health {

// A TCP socket that listens. Clients can connect and wait until a server takes
// the socket over, so a program can find out that an address is in use before
// it does anything else.
class Listener {
 public:
  // `address`: "10.0.0.1:80", "[fd00::1]:80". "0.0.0.0:80" and "[::]:80" are
  // all addresses of both families, or of the only one that the kernel
  // supports. With port 0, the kernel chooses the port.
  static Result<Listener> open(const std::string& address);

  [[nodiscard]] const IpAddress& address() const { return address_; }
  [[nodiscard]] int port() const { return port_; }
  // Gives the socket away.
  [[nodiscard]] Fd take() && { return std::move(fd_); }

 private:
  Listener(Fd fd, const IpAddress& address, int port)
      : fd_(std::move(fd)), address_(address), port_(port) {}

  Fd fd_;
  IpAddress address_;
  int port_;
};

}  // namespace sluice::health
