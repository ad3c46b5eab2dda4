// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/datapath/packet.h"
#include "tests/datapath/runner.h"

// The small world of the datapath's tests: the endpoint and its peers, in one
// family.
namespace sluice::testing {

inline constexpr std::uint32_t kClassB = 2;
inline constexpr std::uint32_t kClassC = 3;
inline constexpr std::uint32_t kClassNode = SLUICE_CIDR_LOCAL_NODE | 4;
inline constexpr std::uint32_t kClassExternal = 5;

struct Net {
  bool v6 = false;
  IpAddress own;
  IpAddress b;
  IpAddress c;
  IpAddress node;
  IpAddress external;  // in a prefix that has a class
  IpAddress stranger;  // has no class
  IpAddress multicast;
  std::vector<Peer> peers;
  std::uint8_t icmp_protocol = kIcmp;
  std::uint8_t echo_request = 8;
  std::uint8_t echo_reply = 0;
  std::uint8_t unreachable = 3;

  // Frames to and from the endpoint.
  [[nodiscard]] Bytes from(const IpAddress& peer, std::uint8_t protocol,
                           const Bytes& transport,
                           const IpOptions& options = {}) const {
    return ip_frame({.from = peer, .to = own}, protocol, transport, options);
  }
  [[nodiscard]] Bytes to(const IpAddress& peer, std::uint8_t protocol,
                         const Bytes& transport,
                         const IpOptions& options = {}) const {
    return ip_frame({.from = own, .to = peer}, protocol, transport, options);
  }
  // Nothing isolated; nothing but the peers' classes.
  [[nodiscard]] World open() const;
  // Isolated both ways; what is not in `entries` is denied.
  [[nodiscard]] World isolated(std::vector<Entry> entries = {}) const;
};

Net make_net(bool v6);

// One runner for all tests of a process: loading takes longer than a test.
// Without flows; fails the process if the programs do not load.
Runner& shared_runner();

}  // namespace sluice::testing
